"""Who may do what in Redis, from the text of the ACL file that the servers read."""

from __future__ import annotations

import re
from typing import Final

from cacheclient.contract import RedisUser
from infra.quantities import MIB
from infra.redis_conf import RedisConf, acl_text

_USED_BY: Final = {
    RedisUser.APP: "clients",
    RedisUser.REPLICATION: "replicas",
    RedisUser.SENTINEL: "Sentinels",
    RedisUser.EXPORTER: "redis_exporter",
    RedisUser.BACKUP: "backup jobs",
    RedisUser.OPS: "start script, stop hook, probes, people",
    RedisUser.ADMIN: "the rotation of passwords",
}


def table() -> str:
    """Return a row for each user: its keys, its channels and its commands, and who logs in with it."""
    users = re.findall(r"^user (\w+) on @hashes:\w+@ (.*)$", acl_text(RedisConf(memory_limit=512 * MIB)), re.MULTILINE)
    rows = [_row(RedisUser(name), rules.split()) for name, rules in users]
    return "\n".join(["| user | used by | keys | channels | commands |", "|---|---|---|---|---|", *rows])


def _row(user: RedisUser, rules: list[str]) -> str:
    keys = [rule[1:] for rule in rules if rule[0] == "~"]
    channels = [rule[1:] for rule in rules if rule[0] == "&"]
    commands = [rule for rule in rules if rule[0] in "+-"]
    every_key = "*" in keys
    shown = "those of `redis.keyPatterns`" if every_key else _codes(keys)
    return f"| `{user}` | {_USED_BY[user]} | {shown} | {_codes(channels)} | {_codes(commands)} |"


def _codes(words: list[str]) -> str:
    return " ".join(f"`{word}`" for word in words).replace("|", "\\|") or "none"
