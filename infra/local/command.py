"""``cachestack local``: the commands of ``python -m infra.local``."""

from __future__ import annotations

from cacheclient.cli.adopted import adopt
from infra.local import cli

_HELP = "The local set: up, down, status, logs, events, env."

application = adopt(cli.parser(), cli.main, "local", _HELP, {})
