"""Plans and sources in a TOML file; whatever is wrong with it is said at once, each fault with its path."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from cacheclient import strict
from cacheclient.cache import AsyncCache
from cacheclient.errors import ConfigurationError
from cacheclient.warming.items import PLANS, Source
from cacheclient.warming.settings import DEFAULTS, PlanSettings
from cacheclient.warming.sources.kinds import Kind, SourceSettings, kinds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PlanFile:
    """What a plan file says.

    Attributes:
        plans: how each plan is carried out.
    """

    plans: Mapping[str, PlanSettings]
    _told: tuple[tuple[Kind, SourceSettings], ...]

    def sources(self, cache: AsyncCache[Any]) -> list[Source]:
        """Return the sources, to warm ``cache``.

        Raises:
            ConfigurationError: if a loader cannot be found.
        """
        return [kind.make(settings, cache) for kind, settings in self._told]


def read_plans(path: str | Path) -> PlanFile:
    """Return what the file at ``path`` says.

    Raises:
        ConfigurationError: if it cannot be read, or with every fault in it.
    """
    try:
        raw = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"plan file {path}: {error}") from error
    return parse_plans(raw, str(path))


def parse_plans(raw: Mapping[str, Any], name: str = "plan file") -> PlanFile:
    """Return what ``raw``, the content of a plan file, says; ``name`` is what errors call it.

    Raises:
        ConfigurationError: with every fault.
    """
    faults = [f"{key}: unknown key; allowed: plans, sources" for key in raw if key not in ("plans", "sources")]
    plans = _plans(_expected(raw.get("plans", {}), dict, "plans: a table of plans is needed", faults), faults)
    listed = _expected(raw.get("sources", []), list, "sources: a list of tables is needed: [[sources]]", faults)
    if not listed:
        faults.append("sources: missing; at least one [[sources]]")
    known = kinds()
    told = [one for number, table in enumerate(listed) if (one := _source(table, f"sources[{number}]", known, faults))]
    names = [settings.name for _, settings in told]
    faults += [f"sources: two are named {one!r}" for one in sorted(set(names)) if names.count(one) > 1]
    if faults:
        raise ConfigurationError("\n".join([f"{name}: {len(faults)} fault(s)", *(f"  {fault}" for fault in faults)]))
    return PlanFile(plans, tuple(told))


def _plans(raw: Mapping[str, Any], faults: list[str]) -> dict[str, PlanSettings]:
    found = dict(DEFAULTS)
    for name, table in raw.items():
        if name not in PLANS:
            faults.append(f"plans.{name}: no such plan; {', '.join(PLANS)}")
            continue
        deadline = {"deadline": DEFAULTS[name].deadline} if isinstance(table, dict) else {}
        given = {**deadline, **table} if isinstance(table, dict) else table
        found[name] = strict.build(PlanSettings, given, faults, path=f"plans.{name}")
    return found


def _source(raw: object, path: str, known: Mapping[str, Kind], faults: list[str]) -> tuple[Kind, SourceSettings] | None:
    """Return the kind and the settings of one source; None if there are faults, which are added."""
    table = _expected(raw, dict, f"{path}: a table is needed", faults)
    if table is not raw:
        return None
    name = table.get("kind")
    if not isinstance(name, str) or name not in known:
        near = get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]}?" if near and name is not None else f"allowed: {', '.join(known)}"
        faults.append(f"{path}.kind: {'missing' if name is None else repr(name)}; {hint}")
        return None
    kind, before = known[name], len(faults)
    told = {key: value for key, value in table.items() if key != "kind"}
    settings = strict.build(kind.settings, told, faults, path=path, hidden=(f"{path}.dsn", f"{path}.headers"))
    if len(faults) == before:
        faults += [f"{path}.{fault}" for fault in kind.faults(settings)]
    return (kind, settings) if len(faults) == before else None


def _expected(value: Any, kind: type[T], otherwise: str, faults: list[str]) -> T:
    if isinstance(value, kind):
        return value
    faults.append(otherwise)
    return kind()
