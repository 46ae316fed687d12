"""What a plan may be told, as typed values with what is allowed in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cacheclient import strict
from cacheclient.errors import ConfigurationError
from cacheclient.warming.items import PLANS

Rate = Annotated[float, Meta(ge=1, le=1e6, description="keys a second, from 1 to 1000000")]
BatchSize = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")]
Deadline = Annotated[float, Meta(ge=0.1, le=86_400, description="seconds, from 0.1 to 86400")]
Flag = Annotated[bool, Meta(description="true or false")]
Count = Annotated[int, Meta(ge=0, le=100_000, description="a whole number from 0 to 100000")]


class PlanSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one plan is carried out.

    Attributes:
        rate: keys a second at most; where Redis answers slowly it is less.
        batch: keys that are looked at, loaded and stored together.
        renew: replace what the cache has, if it is older than the reading of the source; else only what is missing.
        deadline: seconds after which the warm-up ends, done or not.
        l1: so many of the first keys are named to all processes, to have them in L1.
    """

    rate: Rate = 2000.0
    batch: BatchSize = 50
    renew: Flag = False
    deadline: Deadline = 3600.0
    l1: Count = 1000


# Critical is waited for, hot is asked for during the day, full has the night.
DEFAULTS: Final[Mapping[str, PlanSettings]] = {
    "critical": PlanSettings(deadline=30.0),
    "hot": PlanSettings(deadline=1800.0),
    "full": PlanSettings(deadline=4 * 3600.0),
}


def checked(settings: PlanSettings, name: str) -> PlanSettings:
    """Return ``settings`` made in code, whose values msgspec has not looked at.

    Raises:
        ConfigurationError: with every value that cannot be.
    """
    faults: list[str] = []
    strict.build(PlanSettings, msgspec.structs.asdict(settings), faults, path=f"plans.{name}")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return settings


def plan_name(name: str) -> str:
    """Return ``name`` if it is a plan.

    Raises:
        ConfigurationError: if it is not.
    """
    if name not in PLANS:
        raise ConfigurationError(f"plan {name!r}: {', '.join(PLANS)}")
    return name
