"""Fingerprints drawn from the network, and the database they are kept in."""

from __future__ import annotations

import json
import random
import sqlite3
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import apify_fingerprint_datapoints
import pytest

from examples.fingerprint.profiles import FIELDS, FIRST_VERSION, ProfileSampler, digest
from examples.fingerprint.store import Store, build


@pytest.fixture(scope="module")
def sampler() -> ProfileSampler:
    return ProfileSampler(apify_fingerprint_datapoints.get_fingerprint_network())


@pytest.fixture
def database(tmp_path: Path, sampler: ProfileSampler) -> Path:
    build(tmp_path / "db.sqlite", users=20, sampler=sampler, seed=3)
    return tmp_path / "db.sqlite"


def test_a_seed_gives_the_same_fingerprints_and_another_seed_others(sampler: ProfileSampler) -> None:
    def drawn(seed: int) -> list[str]:
        rng = random.Random(seed)  # noqa: S311  repeatable input
        return [sampler.draw(rng) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_a_fingerprint_is_json_of_about_a_kilobyte_with_known_properties_only(sampler: ProfileSampler) -> None:
    rng = random.Random(1)  # noqa: S311  repeatable input
    bodies = [sampler.draw(rng) for _ in range(300)]

    for body in bodies:
        assert set(json.loads(body)) <= set(FIELDS)
        assert isinstance(json.loads(body)["screen"]["width"], int | float)
    assert 900 < sum(map(len, bodies)) / len(bodies) < 1_800


def test_properties_fit_together_because_parents_are_drawn_first(sampler: ProfileSampler) -> None:
    rng = random.Random(1)  # noqa: S311  repeatable input
    phones = [
        profile
        for profile in (json.loads(sampler.draw(rng)) for _ in range(2_000))
        if "(iPhone;" in profile["userAgent"]
    ]
    assert len(phones) > 20
    # Nearly all: some of the real browsers behind the network claimed to be what they were not.
    assert sum(profile["platform"] == "iPhone" for profile in phones) > 0.9 * len(phones)
    assert sum(profile["maxTouchPoints"] > 0 for profile in phones) > 0.9 * len(phones)


def _network(path: Path, content: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("network.json", content)
    return path


def test_a_file_that_is_no_network_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "text", tmp_path / "missing", _network(tmp_path / "empty.zip", "{}")):
        with pytest.raises(ValueError, match=f"{path}: not a fingerprint network"):
            ProfileSampler(path)
    with pytest.raises(ValueError, match="the network lacks userAgent, "):
        ProfileSampler(_network(tmp_path / "poor.zip", '{"nodes": []}'))


def test_every_row_holds_its_users_own_digest(database: Path) -> None:
    with closing(Store(database)) as store:
        for user in range(20):
            row = store.read(user)
            assert (row.user, row.version) == (user, FIRST_VERSION)
            assert row.digest == digest(user, FIRST_VERSION, row.body)
        with pytest.raises(KeyError):
            store.read(20)


def test_an_update_raises_the_version_by_one_and_is_seen_by_other_connections(database: Path) -> None:
    with closing(Store(database)) as reader, closing(Store(database)) as writer:
        assert reader.read(4).version == FIRST_VERSION
        assert writer.update(4, "new") == FIRST_VERSION + 1
        row = reader.read(4)
        assert (row.version, row.body, row.digest) == (2, "new", digest(4, 2, "new"))
        with pytest.raises(KeyError):
            writer.update(20, "nobody")
        assert writer.update(4, "newer") == FIRST_VERSION + 2  # a refused update leaves no transaction open


def test_concurrent_updates_never_share_a_version(database: Path) -> None:
    def work(_: int) -> list[int]:
        with closing(Store(database)) as store:
            return [store.update(1, "body") for _ in range(25)]

    with ThreadPoolExecutor(4) as pool:
        versions = [version for result in pool.map(work, range(4)) for version in result]

    assert sorted(versions) == list(range(FIRST_VERSION + 1, FIRST_VERSION + 101))


def test_a_rebuilt_database_is_that_of_the_seed_again(database: Path, sampler: ProfileSampler) -> None:
    with closing(Store(database)) as store:
        before = store.read(4)
        store.update(4, "changed")
    size = build(database, users=20, sampler=sampler, seed=3)

    with closing(Store(database)) as store:
        assert store.read(4) == before
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT sum(length(body)) FROM profile").fetchone() == (size,)
