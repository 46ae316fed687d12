"""From a stack file to ``Settings``: what cannot work is refused before a resource is registered, all faults at once.

What may be said is in ``infra.settings_schema``, what contradicts itself in ``infra.settings_rules``.
This module imports no Pulumi, so that the local environment and the tests can use it at no cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cacheclient import strict
from cacheclient.contract import set_name
from infra import settings_rules, stack_files
from infra.settings_schema import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Settings", "SettingsError", "load", "parse"]

SECRET_PATHS: Final = ("passwords",)


class SettingsError(ValueError):
    """The settings of a stack are unusable; ``faults`` has one line per fault."""

    def __init__(self, stack: str, faults: list[str]) -> None:
        self.faults = tuple(faults)
        super().__init__(
            "\n".join([f"stack {stack}: {len(faults)} fault(s) in its settings", *(f"  {f}" for f in faults)])
        )


def parse(stack: str, raw: Mapping[str, object]) -> Settings:
    """Return the settings of a stack from plain values, defaults of Pulumi.yaml included.

    Raises:
        SettingsError: with every fault found: unknown keys, values out of range, and values that contradict each other.
    """
    faults: list[str] = []
    try:
        set_name(stack)
    except ValueError as error:
        faults.append(str(error))
    settings = strict.build(Settings, raw, faults, hidden=SECRET_PATHS)
    faults.extend(settings_rules.contradictions(settings))
    if faults:
        raise SettingsError(stack, faults)
    return settings


def load(stack: str, overrides: Sequence[str] = ()) -> Settings:
    """Return the settings of a stack file, with ``path.to.key=value`` overrides.

    Raises:
        StackFileError: if the file or an override cannot be read.
        SettingsError: with every fault found. Both are ValueErrors.
    """
    values = stack_files.read(stack)
    for assignment in overrides:
        stack_files.override(values, assignment)
    return parse(stack, values)
