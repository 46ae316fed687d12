"""Options: refused by name and range, and the same after a trip through the environment."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cacheclient import (
    TTL,
    AsyncCache,
    CacheOptions,
    FailsafeOptions,
    L1Options,
    L2Options,
    LockOptions,
    SyncOptions,
    TuningOptions,
)
from cacheclient.codec import MsgpackCodec
from cacheclient.environment import environment, to_env
from cacheclient.errors import ConfigurationError

GROUPS = {
    "l1": L1Options, "l2": L2Options, "lock": LockOptions, "sync": SyncOptions, "failsafe": FailsafeOptions,
    "tuning": TuningOptions,
}  # fmt: skip


def seconds(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high) | st.integers(max(1, int(low)), int(high)) if high >= 1 else st.floats(low, high)


OPTIONS = st.builds(
    CacheOptions,
    l1=st.builds(
        L1Options, max_entries=st.integers(0, 10**8), max_bytes=st.integers(1024, 2**40), ttl=seconds(0.001, 86_400),
        jitter=seconds(0, 0.5),
    ),
    l2=st.builds(
        L2Options, ttl=seconds(0.01, 30 * 86_400) | st.sampled_from(TTL), timeout=seconds(0.001, 60),
        connect_timeout=seconds(0.01, 60), max_batch=st.integers(1, 4096),
        early_refresh=seconds(0, 100),
    ),
    lock=st.builds(
        LockOptions, load_timeout=seconds(0.01, 10), lease=seconds(10, 3600), wait=seconds(0.001, 3600),
        max_unleased=st.integers(1, 10_000),
    ),
    failsafe=st.builds(
        FailsafeOptions, window=seconds(1, 86_400), throttle=seconds(0.01, 3600), revalidate=st.booleans()
    ),
    sync=st.builds(SyncOptions, max_staleness=seconds(0.05, 60), journal=seconds(0, 3600)),
    tuning=st.builds(TuningOptions, interval=seconds(0, 3600), sample=st.integers(16, 65_536), apply=st.booleans()),
)  # fmt: skip


@given(OPTIONS)
def test_from_env_undoes_to_env(options: CacheOptions) -> None:
    assert CacheOptions.from_env(options.to_env()) == options


def test_every_option_has_its_variable() -> None:
    names = {f"CACHE_OPT_{g}_{f.name}".upper() for g, kind in GROUPS.items() for f in dataclasses.fields(kind)}
    assert set(CacheOptions().to_env()) == names


def test_what_the_environment_does_not_set_keeps_its_default() -> None:
    options = CacheOptions.from_env({"CACHE_OPT_L1_MAX_ENTRIES": "5", "CACHE_URL": "redis://x", "HOME": "/"})
    assert options == CacheOptions(l1=L1Options(max_entries=5))


@pytest.mark.parametrize(
    ("group", "option"),
    [(g, field.name) for g, kind in GROUPS.items() for field in dataclasses.fields(kind) if field.type != "bool"],
)
@pytest.mark.parametrize("value", [-1, 10**18, float("nan"), float("inf"), True, "1", None])
def test_a_value_that_cannot_be_is_refused_by_name_and_range(group: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{group}\.{option}=.*: a (whole )?number from \S+ to \S+"):
        GROUPS[group](**{option: value})


@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_a_switch_is_true_or_false(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^failsafe\.revalidate=.*: true or false"):
        FailsafeOptions(window=60, revalidate=value)
    with pytest.raises(ConfigurationError, match=r"^l1\.copy=.*: true or false"):
        L1Options(copy=value)


def test_revalidation_needs_a_window() -> None:
    with pytest.raises(ConfigurationError, match=r"needs failsafe\.window above 0"):
        FailsafeOptions(revalidate=True)


@pytest.mark.parametrize(("group", "option"), [("l1", "max_entries"), ("l1", "max_bytes"), ("l2", "max_batch"),
                                               ("lock", "max_unleased")])  # fmt: skip
def test_a_count_is_a_whole_number(group: str, option: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{group}\.{option}=2000\.5: a whole number from"):
        GROUPS[group](**{option: 2000.5})


def test_a_lease_shorter_than_a_load_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"lock\.lease=1: at least lock\.load_timeout \(2\)"):
        LockOptions(load_timeout=2, lease=1)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("CACHE_OPT_L1_MAX_ENTRYS", "5", "did you mean CACHE_OPT_L1_MAX_ENTRIES"),
        ("CACHE_OPT_" + "X" * 80, "5", "known: CACHE_OPT_FAILSAFE_OFFLINE, "),
        ("CACHE_OPT_L1_MAX_ENTRIES", "many", "CACHE_OPT_L1_MAX_ENTRIES='many': a whole number"),
        ("CACHE_OPT_L1_MAX_ENTRIES", "1.5", "a whole number"),
        ("CACHE_OPT_L2_TIMEOUT", "", "CACHE_OPT_L2_TIMEOUT='': a number"),
        ("CACHE_OPT_FAILSAFE_REVALIDATE", "yes", "CACHE_OPT_FAILSAFE_REVALIDATE='yes': true or false"),
        ("CACHE_OPT_L2_TIMEOUT", "nan", r"l2.timeout=nan: a number from 0.001 to 60"),
    ],
)
def test_a_variable_that_cannot_be_is_refused_by_name(variable: str, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        CacheOptions.from_env({variable: text})


@pytest.mark.parametrize("missing", ["CACHE_URL", "CACHE_NAMESPACE"])
def test_a_missing_variable_is_named(missing: str) -> None:
    environ = {"CACHE_URL": "memory://", "CACHE_NAMESPACE": "a"}
    del environ[missing]
    with pytest.raises(ConfigurationError, match=missing):
        AsyncCache.from_env(environ)


@pytest.mark.parametrize("version", ["0", "x", "-1", "1.5", "٣", ""])
def test_a_version_variable_that_cannot_be_is_refused(version: str) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)version="):
        AsyncCache.from_env({"CACHE_URL": "memory://", "CACHE_NAMESPACE": "a", "CACHE_VERSION": version})


def test_a_cache_from_the_environment_has_its_options() -> None:
    environ = {"CACHE_URL": "memory://", "CACHE_NAMESPACE": "a", "CACHE_VERSION": "7", "CACHE_OPT_L2_TTL": "9"}
    cache = AsyncCache.from_env(environ)
    assert cache.space.prefix == "a:v7:"
    assert cache.options.l2.ttl == 9


@given(
    options=OPTIONS,
    version=st.integers(1, 10**6),
    url=st.sampled_from(["memory://", "redis://u@h:7/3", "rediss://h", "redis+sentinel://a,b:7,c/set"]),
    codec=st.sampled_from(["msgpack", "json", "raw"]),
    username=st.none() | st.just("me"),
)
def test_a_whole_cache_goes_through_the_environment_and_back(
    options: CacheOptions, version: int, url: str, codec: str, username: str | None
) -> None:
    given: dict[str, Any] = {"namespace": "a", "version": version, "options": options, "codec": codec}
    if username is not None:
        given["username"] = username
    assert environment(to_env(url, **given)) == {"url": url, **given}


def test_files_go_through_the_environment(tmp_path: Path) -> None:
    for name in ("p", "s"):
        (tmp_path / name).write_text("secret")
    files: dict[str, Any] = {"password_file": tmp_path / "p", "sentinel_password_file": str(tmp_path / "s")}
    environ = to_env("redis+sentinel://a/x", namespace="a", **files)
    assert "secret" not in str(environ)
    back = environment(environ)
    assert {name: str(back[name]) for name in files} == {name: str(path) for name, path in files.items()}
    assert AsyncCache.from_env(environ).space.prefix == "a:v1:"


@pytest.mark.parametrize(
    ("url", "given", "says"),
    [
        ("http://h", {}, "url scheme 'http'"),
        ("redis://h", {"namespace": "A"}, "namespace='A'"),
        ("redis://h", {"version": 0}, "version=0"),
        ("redis://h", {"password": "p"}, "give password_file instead"),
        ("redis://u:p@h", {}, "give password_file instead"),
        ("redis://h", {"codec": MsgpackCodec()}, "only the name of a codec"),
        ("redis://h", {"colour": "red"}, "colour: no such setting"),
        ("redis://h", {"versions": lambda _: None}, "functions cannot be in an environment"),
    ],
)
def test_what_no_environment_can_say_is_refused(url: str, given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        to_env(url, **{"namespace": "a", **given})


def test_a_codec_variable_that_names_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="codec='xml'"):
        AsyncCache.from_env({"CACHE_URL": "memory://", "CACHE_NAMESPACE": "a", "CACHE_CODEC": "xml"})


def test_options_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        CacheOptions().l1.ttl = 5  # type: ignore[misc]
