"""The figures at which alerts fire: the bundle's promises, what the stack says otherwise, and the size of its set."""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import TYPE_CHECKING, Any, Final

from alerts.thresholds import Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.settings_schema import Settings

_OF_THE_SET: Final = frozenset({"replicas", "sentinels", "quorum", "max_clients"})
_NAMES: Final = {
    re.sub(r"_(\w)", lambda match: match[1].upper(), field.name): field
    for field in dataclasses.fields(Thresholds)
    if field.name not in _OF_THE_SET
}
_PATH: Final = "monitoring.thresholds"


def defaults() -> dict[str, float]:
    """Return every limit that a stack may set, by its name in the stack file, as it is where none is set."""
    promises = Thresholds()
    return {name: getattr(promises, field.name) for name, field in _NAMES.items()}


def limits(settings: Settings) -> Thresholds:
    """Return the limits of a stack's rules and panels; ``faults`` has said before whether they can be used."""
    return Thresholds(
        replicas=settings.redis.replicas - 1,
        sentinels=settings.sentinel.replicas,
        quorum=settings.sentinel.quorum,
        max_clients=settings.redis.max_clients,
        **_given(settings.monitoring.thresholds),
    )


def faults(settings: Settings) -> Iterator[str]:
    """Yield one line, path first, for each limit that the stack file names wrongly or that cannot be."""
    for name, value in settings.monitoring.thresholds.items():
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1)
            allowed = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(_NAMES)}"
            yield f"{_PATH}.{name}: no such limit; {allowed}"
            continue
        try:
            Thresholds(**_given({name: value}))
        except ValueError as error:
            yield f"{_PATH}.{name}: {value:g} is not allowed; {str(error).partition(': ')[2]}"


def _given(limits: Mapping[str, float]) -> dict[str, Any]:
    """Return the limits by the names of their fields; counts are whole numbers."""
    return {
        _NAMES[name].name: int(value) if _NAMES[name].type == "int" and value.is_integer() else value
        for name, value in limits.items()
    }
