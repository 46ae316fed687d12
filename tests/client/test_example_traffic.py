"""The zipf mix of the example: its shape, its drift, and that the seed decides everything."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import pytest

from examples.fingerprint.traffic import MAX_USERS, ZipfMix


def take(mix: ZipfMix, reader: int, number: int) -> list[int]:
    return list(islice(mix.lookups(reader), number))


def popular(lookups: list[int], number: int) -> set[int]:
    return {user for user, _ in Counter(lookups).most_common(number)}


@pytest.mark.parametrize("skew", [0.0, 0.75, 1.2])
def test_popular_users_come_as_often_as_zipfs_law_says(skew: float) -> None:
    users, lookups = 500, 100_000
    counts = Counter(take(ZipfMix(users=users, skew=skew, top=1, drift=0), 0, lookups))
    weights = [(rank + 1) ** -skew for rank in range(users)]

    for top in (1, 10, 100):
        expected = sum(weights[:top]) / sum(weights)
        seen = sum(count for _, count in counts.most_common(top)) / lookups
        assert seen == pytest.approx(expected, rel=0.15, abs=0.005)


def test_every_user_of_a_small_mix_comes_up_and_no_other() -> None:
    assert set(take(ZipfMix(users=50, top=10), 0, 20_000)) == set(range(50))


def test_the_seed_decides_the_whole_sequence() -> None:
    mix = ZipfMix(users=1_000, top=100, seed=7)
    assert take(mix, 2, 3_000) == take(ZipfMix(users=1_000, top=100, seed=7), 2, 3_000)
    assert take(mix, 2, 3_000) != take(ZipfMix(users=1_000, top=100, seed=8), 2, 3_000)


def test_readers_draw_differently_from_one_ranking_even_after_it_has_drifted() -> None:
    mix = ZipfMix(users=5_000, skew=1.2, top=50, drift=5)
    first, second = take(mix, 0, 60_000), take(mix, 1, 60_000)
    assert first != second

    late_first, late_second = popular(first[-10_000:], 10), popular(second[-10_000:], 10)
    assert len(late_first & late_second) >= 7


def test_drift_changes_who_is_popular_and_without_it_nobody_does() -> None:
    def kept(drift: int) -> int:
        lookups = take(ZipfMix(users=5_000, skew=1.0, top=100, drift=drift), 0, 100_000)
        return len(popular(lookups[:20_000], 50) & popular(lookups[-20_000:], 50))

    assert kept(0) >= 40
    assert kept(2) <= 20


@pytest.mark.parametrize(
    ("field", "value"), [("users", 0), ("users", MAX_USERS + 1), ("skew", -1), ("top", 0), ("top", 101), ("drift", 501)]
)
def test_an_impossible_mix_is_refused_by_the_name_of_the_field(field: str, value: int) -> None:
    given = {"users": 100, "top": 10} | {field: value}
    with pytest.raises(ValueError, match=f"^{field}={value}: from "):
        ZipfMix(**given)
