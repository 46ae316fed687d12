"""Read Pulumi.yaml and a stack file from disk, merged as the Pulumi CLI merges them, without the CLI.

A key of the stack file replaces the default of Pulumi.yaml as a whole; a key without a prefix belongs to the project,
as in the CLI. Encrypted values (``secure: ...``) can be read by the CLI alone, so a secret key is left out here.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from cacheclient.contract import APP_NAME

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

_CHECKOUT: Final = Path(__file__).resolve().parent.parent
ROOT: Final = _CHECKOUT if (_CHECKOUT / "Pulumi.yaml").is_file() else Path.cwd()
"""Where Pulumi.yaml and the stack files are: beside this package; of an installed one, where the command runs."""
# Options of the CLI itself, such as pulumi:tags.
_CLI_PREFIX: Final = "pulumi:"


class StackFileError(ValueError):
    """A project or stack file is missing or is not what it should be; the message names the file."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML as the CLI reads it: a key given twice is an error, not silently the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002  PyYAML's signature
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in {key for key in keys if keys.count(key) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def names(root: Path = ROOT) -> list[str]:
    """Return the names of the stacks that have a file."""
    return sorted(file.suffixes[0][1:] for file in root.glob("Pulumi.*.yaml"))


def read(stack: str, root: Path = ROOT) -> dict[str, Any]:
    """Return the plain settings of a stack: the schema's defaults under the stack file's values.

    Raises:
        StackFileError: if a file is missing, is not YAML, has no ``config`` mapping, or holds a key of another project.
    """
    defaults = {key: spec["default"] for key, spec in _config(root / "Pulumi.yaml").items() if "default" in spec}
    path = root / f"Pulumi.{stack}.yaml"
    if not path.is_file():
        raise StackFileError(f"stack {stack}: there is no {path.name}; allowed: {', '.join(names(root))}")
    return defaults | own_keys(_config(path), source=path.name)


def own_keys(config: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return the project's values by their bare key; encrypted values and the CLI's own options are left out.

    Raises:
        StackFileError: for keys of another project, which nothing here would read, and for a key that is there twice.
    """
    values: dict[str, Any] = {}
    faults = []
    for key, value in config.items():
        prefix, _, bare = str(key).rpartition(":")
        if f"{prefix}:" == _CLI_PREFIX:
            continue
        if prefix not in {"", APP_NAME}:
            faults.append(f"{key}: unknown key; keys here begin with {APP_NAME}:")
        elif bare in values:
            faults.append(f"{bare}: given twice, with and without {APP_NAME}:")
        elif not (isinstance(value, dict) and value.keys() == {"secure"}):
            values[bare] = value
    if faults:
        raise StackFileError("\n".join(f"{source}: {fault}" for fault in faults))
    return values


def override(values: dict[str, Any], assignment: str) -> None:
    """Set one value by ``path.to.key=value``; the value is read as YAML, so that 3, true and [a, b] mean what they say.

    Raises:
        StackFileError: if the assignment has no ``=``, is not YAML, or its path leads through something not a group.
    """
    path, separator, text = assignment.partition("=")
    *groups, key = path.split(".")
    if not separator or not all([*groups, key]):
        raise StackFileError(f"{assignment!r}: path.to.key=value is expected, such as redis.image=redis:7.2.16")
    target = values
    for group in groups:
        target = target.setdefault(group, {})
        if not isinstance(target, dict):
            raise StackFileError(f"{assignment!r}: {group} is a single value and has no keys")
    target[key] = _load(text, source=assignment)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Give a command the option ``--set``, for settings that differ from the stack file (``overrides``)."""
    text = "a setting that differs from the stack file, such as redis.image=redis:7.0; repeatable"
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides", help=text)


def _config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackFileError(f"{path.name}: cannot be read: {error}") from error
    document = _load(text, source=path.name)
    config = document.get("config") if isinstance(document, dict) else None
    if not isinstance(config, dict):
        raise StackFileError(f"{path.name}: no mapping named config at the top")
    return config


def _load(text: str, *, source: str) -> Any:
    try:
        return yaml.load(text, _UniqueKeyLoader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date of the 99th month; a thousand brackets
        raise StackFileError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error
