"""``cachestack backup`` and ``drill``: the commands of ``python -m infra.jobs``."""

from __future__ import annotations

from cacheclient.cli.adopted import adopt, alone
from infra.jobs import cli

_HELP = "Backups of a set: create, list, verify, restore, drill, prune."

application = adopt(cli.parser(), cli.main, "backup", _HELP, {"backup": "create"})
drill = alone(cli.parser(), cli.main, "drill")
