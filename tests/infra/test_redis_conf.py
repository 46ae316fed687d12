from __future__ import annotations

import pytest

from cacheclient.contract import WARMED_AT, Channel, RedisUser
from infra.quantities import MIB
from infra.redis_conf import RedisConf, SentinelConf, Tls, acl_text, maxmemory_bytes, redis_conf, sentinel_conf


def directives(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines() if line)


def rules_of(user: str, text: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.split()[:2] == ["user", user])


def test_maxmemory_is_sixty_percent_of_the_limit() -> None:
    assert maxmemory_bytes(2048 * MIB) == 1_288_490_188
    assert directives(redis_conf(RedisConf(memory_limit=2048 * MIB)))["maxmemory"] == "1288490188"


def test_stack_values_reach_redis_conf() -> None:
    text = redis_conf(
        RedisConf(
            memory_limit=512 * MIB,
            min_replicas_to_write=2,
            min_replicas_max_lag=5,
            repl_backlog=8 * MIB,
            maxclients=100,
            latency_threshold_ms=7,
            io_threads=2,
        )
    )
    found = directives(text)
    assert found["min-replicas-to-write"] == "2"
    assert found["min-replicas-max-lag"] == "5"
    assert found["repl-backlog-size"] == str(8 * MIB)
    assert found["maxclients"] == "100"
    assert found["latency-monitor-threshold"] == "7"
    assert found["io-threads"] == "2"


def test_replicas_may_fall_behind_by_more_than_the_backlog_before_they_are_cut_off() -> None:
    conf = RedisConf(memory_limit=1024 * MIB)
    kind, hard, soft, seconds = directives(redis_conf(conf))["client-output-buffer-limit"].split()
    assert kind == "replica"
    assert int(hard) > int(soft) > conf.repl_backlog
    assert seconds == "60"


def test_each_snapshot_rule_is_a_line_and_no_rule_switches_snapshots_off() -> None:
    two = redis_conf(RedisConf(memory_limit=512 * MIB, save=((60, 1000), (900, 1))))
    assert "save 60 1000\nsave 900 1\n" in two
    assert 'save ""\n' in redis_conf(RedisConf(memory_limit=512 * MIB, save=()))


def test_markers_without_ttl_survive_eviction() -> None:
    assert directives(redis_conf(RedisConf(memory_limit=512 * MIB)))["maxmemory-policy"] == "volatile-lfu"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_limit", 31 * MIB),
        ("min_replicas_to_write", -1),
        ("min_replicas_max_lag", -1),
        ("repl_backlog", 1),
        ("maxclients", 0),
        ("latency_threshold_ms", -1),
        ("io_threads", 0),
        ("save", ((60,),)),
        ("save", ((0, 1000),)),
        ("app_key_patterns", ()),
        ("app_key_patterns", ("with space",)),
        ("app_key_patterns", ("two\nlines",)),
    ],
)
def test_an_impossible_redis_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        RedisConf(**{"memory_limit": 512 * MIB, field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("set_name", "two words"),
        ("set_name", ""),
        ("quorum", 0),
        ("parallel_syncs", 0),
        ("down_after", 0),
        ("failover_timeout", -1),
        ("reboot_down_after", 0),
    ],
)
def test_an_impossible_sentinel_value_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SentinelConf(**{"set_name": "cache-dev", field: value})


def test_sentinel_times_are_written_in_milliseconds() -> None:
    text = sentinel_conf(SentinelConf(set_name="cache-dev", down_after=0.75, failover_timeout=4.5))
    assert "sentinel down-after-milliseconds cache-dev 750\n" in text
    assert "sentinel failover-timeout cache-dev 4500\n" in text
    assert "sentinel master-reboot-down-after-period cache-dev 15000\n" in text


def test_quorum_and_set_name_reach_sentinel_conf() -> None:
    text = sentinel_conf(SentinelConf(set_name="cache-dev", quorum=3, parallel_syncs=2))
    assert "sentinel monitor cache-dev @master@ 3\n" in text
    assert "sentinel parallel-syncs cache-dev 2\n" in text


def test_every_user_of_the_contract_has_one_acl_line_with_a_hash_and_default_is_off() -> None:
    lines = acl_text(RedisConf(memory_limit=512 * MIB)).splitlines()
    assert lines[0] == "user default reset"
    assert [line.split()[1] for line in lines[1:]] == [str(user) for user in RedisUser]
    assert all(line.split()[2:4] == ["on", f"@hashes:{line.split()[1]}@"] for line in lines[1:])


def test_no_user_may_use_all_channels() -> None:
    text = acl_text(RedisConf(memory_limit=512 * MIB))
    assert "allchannels" not in text
    assert "&*" not in text
    assert all("resetchannels" in rules_of(user, text) for user in RedisUser)


def test_the_app_gets_its_key_patterns_and_the_three_channels() -> None:
    rules = rules_of("app", acl_text(RedisConf(memory_limit=512 * MIB, app_key_patterns=("a:*", "b:*"))))
    assert [rule for rule in rules if rule.startswith("~")] == [
        *(f"~{key}" for key in WARMED_AT.values()),
        "~a:*",
        "~b:*",
    ]
    assert [rule for rule in rules if rule.startswith("&")] == [f"&{channel}" for channel in Channel]


def test_the_texts_hold_no_password() -> None:
    conf = RedisConf(memory_limit=512 * MIB)
    for line in [*redis_conf(conf).splitlines(), *sentinel_conf(SentinelConf(set_name="cache-dev")).splitlines()]:
        if any(word in line for word in ("masterauth", "sentinel-pass", "auth-pass")):
            assert line.split()[-1].startswith("@password:")


def test_with_tls_there_is_no_port_in_clear_text_and_replication_is_encrypted_too() -> None:
    for client_auth, word in ((False, "no"), (True, "yes")):
        tls = Tls(client_auth=client_auth)
        for text in (
            redis_conf(RedisConf(memory_limit=512 * MIB, tls=tls)),
            sentinel_conf(SentinelConf(set_name="cache-dev", tls=tls)),
        ):
            found = directives(text)
            assert (found["port"], found["tls-port"], found["tls-replication"]) == ("0", "@port@", "yes")
            assert found["tls-auth-clients"] == word
            for name, file in (("cert", "tls.crt"), ("key", "tls.key"), ("ca-cert", "ca.crt")):
                assert found[f"tls-{name}-file"] == f"@tls@/{file}"


def test_the_exporter_may_not_read_the_configuration_which_holds_the_replication_password() -> None:
    assert not [rule for rule in rules_of("exporter", acl_text(RedisConf(memory_limit=512 * MIB))) if "config" in rule]


def test_only_the_admin_may_change_users() -> None:
    text = acl_text(RedisConf(memory_limit=512 * MIB))
    assert [user for user in RedisUser if "+acl|setuser" in rules_of(user, text)] == [RedisUser.ADMIN]
