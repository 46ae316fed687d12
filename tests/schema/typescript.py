"""Dashboards as TypeScript: every panel, its options and its field settings as typed constants. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

# The module of each panel plug-in's own types, and whether it has settings for fields besides options.
_PLUGINS: Final[Mapping[str, tuple[str, bool]]] = {
    "heatmap": ("heatmap", False),
    "stat": ("stat", False),
    "state-timeline": ("statetimeline", True),
    "status-history": ("statushistory", True),
    "table": ("table", False),
    "text": ("text", False),
    "timeseries": ("timeseries", True),
}
# What the types forget, although Grafana writes it itself: the place of a link that no dashboard has is null.
_HEAD: Final = """\
import type { Dashboard, FieldConfigSource, Panel, RowPanel, VariableModel } from '@grafana/schema';
%s
/** A type as its JSON has it: the values of enums are plain texts there, and everything may be left to its default. */
type Json<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer Item)[] ? Json<Item>[] : T extends object ? { [K in keyof T]?: Json<T[K]> } : T;
"""


def source(boards: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a module that compiles if, and only if, Grafana knows every key and value of ``boards``."""
    imports = "".join(
        f"import type * as {module} from '@grafana/schema/dist/types/raw/composable/{module}/panelcfg/x/types.gen';\n"
        for module, _ in _PLUGINS.values()
    )
    return _HEAD % imports + "\n".join(line for board in boards.values() for line in _board(board))


def _board(board: Mapping[str, Any]) -> Iterator[str]:
    name = board["uid"].replace("-", "_")
    frame = {key: value for key, value in board.items() if key not in {"panels", "templating", "annotations"}}
    yield _constant(f"{name}_frame", "Json<Dashboard>", frame)
    for number, variable in enumerate(board["templating"]["list"]):
        yield _constant(f"{name}_variable_{number}", "Json<VariableModel>", variable)
    for panel in board["panels"]:
        for each in (panel, *panel.get("panels", [])):
            yield from _panel(f"{name}_{each['id']}", each)


def _panel(name: str, panel: Mapping[str, Any]) -> Iterator[str]:
    if panel["type"] == "row":
        yield _constant(name, "Json<RowPanel>", {**panel, "panels": []})
        return
    module, has_fields = _PLUGINS[panel["type"]]
    fields = panel["fieldConfig"]["defaults"].get("custom", {})
    plain = {**panel["fieldConfig"]["defaults"]}
    plain.pop("custom", None)
    config = {**panel["fieldConfig"], "defaults": plain}
    yield _constant(name, "Json<Panel>", {k: v for k, v in panel.items() if k not in {"options", "fieldConfig"}})
    yield _constant(f"{name}_fields", "Json<FieldConfigSource>", config)
    yield _constant(f"{name}_options", f"Json<{module}.Options>", panel["options"])
    if has_fields:
        yield _constant(f"{name}_custom", f"Json<{module}.FieldConfig>", fields)


def _constant(name: str, kind: str, value: object) -> str:
    return f"export const {name}: {kind} = {json.dumps(value, indent=1)};"
