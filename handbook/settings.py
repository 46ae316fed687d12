"""The settings of a stack file, from the schema that reads it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, Final, get_args

import msgspec
import yaml

from cacheclient import strict
from handbook import attributes
from infra import alert_limits, settings_rules, stack_files
from infra.settings_pods import Container
from infra.settings_schema import Settings

_PREFIX: Final = "cachestack:"
_OF_CONTAINERS: Final = msgspec.structs.fields(Container)
_CONTAINER: Final = attributes.of(Container)


def reference() -> str:
    """Return a section for the single values, one for each group, and the rules between them."""
    project = yaml.safe_load((stack_files.ROOT / "Pulumi.yaml").read_text(encoding="utf-8"))["config"]
    fields = msgspec.structs.fields(Settings)
    lines = ["## Single values", "", *_table(_single(fields, project))]
    lines += [
        "## Containers",
        "",
        attributes.summary(Container) + " Each of them has these; its defaults are in its group.",
        "",
    ]
    lines += [f"- `{field.encode_name}`: {attributes.markdown(_CONTAINER[field.name])}" for field in _OF_CONTAINERS]
    lines += [""]
    for field in fields:
        if field.encode_name in project and (group := strict.group_type(field.type)):
            lines += [f"## {_PREFIX}{field.encode_name}", "", project[field.encode_name]["description"], ""]
            lines += [attributes.summary(group).partition("\n\n")[2], ""] if "\n\n" in attributes.summary(group) else []
            lines += _table(_rows(group))
            lines += _limits() if field.encode_name == "monitoring" else []
    return "\n".join([*lines, "## What has to fit together", "", *_rules()])


def _single(fields: tuple[Any, ...], project: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for field in fields:
        if not strict.group_type(field.type):
            declared = project[field.encode_name]
            default = _shown(declared["default"]) if "default" in declared else "required"
            yield f"{_PREFIX}{field.encode_name}", default, _allowed(field.type), declared["description"]


def _rows(group: type[msgspec.Struct]) -> Iterator[tuple[str, ...]]:
    texts = attributes.of(group)
    for field in msgspec.structs.fields(group):
        default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        said = texts[field.name] != _CONTAINER.get(field.name)
        meaning = texts[field.name] if said else "as of every [container](#containers)"
        yield field.encode_name, _shown(default), _allowed(field.type), meaning


def _table(rows: Iterator[tuple[str, ...]]) -> list[str]:
    lines = ["| setting | default | allowed | meaning |", "|---|---|---|---|"]
    for name, default, allowed, meaning in rows:
        lines.append(f"| `{name}` | {default} | {attributes.cell(allowed)} | {attributes.cell(meaning)} |")
    return [*lines, ""]


def _allowed(annotation: object) -> str:
    return next(str(meta.description) for meta in get_args(annotation) if isinstance(meta, msgspec.Meta))


def _shown(default: object) -> str:
    if default in ("", (), {}):
        return "empty"
    shown = yaml.safe_dump(list(default) if isinstance(default, tuple) else default, default_flow_style=True)
    text = shown.removesuffix("...\n").strip()
    return f"`{re.sub('@sha256:[0-9a-f]+', '@sha256:…', text)}`"


def _limits() -> list[str]:
    """Return the names that ``monitoring.thresholds`` may have, with the promises that they replace."""
    limits = alert_limits.defaults()
    return [
        "`thresholds` takes these names; an alert that reads one says so in its [runbook](runbooks.md):",
        "",
        "| limit | default |",
        "|---|---|",
        *(f"| `{name}` | {default:g} |" for name, default in limits.items()),
        "",
    ]


def _rules() -> Iterator[str]:
    for rule in (rule for rule in settings_rules.RULES if rule.__module__ == settings_rules.__name__):
        text = " ".join(inspect.cleandoc(rule.__doc__ or "").split())
        yield f"- **{rule.__name__}:** {attributes.markdown(text)}"
