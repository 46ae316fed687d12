"""Build a tree of frozen msgspec Structs from plain values, and report everything that is wrong with them at once.

``msgspec.convert`` checks a single value better than code of ours would, but it stops at the first fault and does not
know what a reader may write instead. So the tree is walked here, each leaf is converted by msgspec, and each fault
becomes one line: the path, the value, what is allowed there, and for an unknown key the nearest key that exists. What
is allowed comes from the ``description`` of the leaf's ``msgspec.Meta``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Annotated, Any, TypeGuard, TypeVar, cast, get_args, get_origin

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


class RefusedError(Exception):
    """A value that was refused is asked for: what depends on it cannot be judged."""


class Refused:
    """Stands where a value was refused, so that rules on other values can still be tried. Any use of it raises."""

    def __getattr__(self, name: str) -> Any:
        raise RefusedError

    def _raise(self, *_: object) -> Any:
        raise RefusedError

    __bool__ = __str__ = __repr__ = __len__ = __iter__ = __int__ = __index__ = __float__ = __hash__ = _raise
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = __contains__ = __format__ = _raise
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __mod__ = _raise


def build(cls: type[S], raw: object, errors: list[str], *, path: str = "", hidden: Collection[str] = ()) -> S:
    """Return ``raw`` as an instance of ``cls``; each fault adds one line to ``errors``, and a ``Refused`` in its place.

    Args:
        cls: a Struct whose fields are Structs, or leaves annotated with a ``Meta`` that has a description.
        raw: what was read; a mapping from the encoded (file) names of the fields.
        errors: receives the faults.
        path: where ``raw`` stands, for the messages.
        hidden: paths whose values, and those below them, are secret and appear in no message.
    """
    if not isinstance(raw, Mapping):
        errors.append(_fault(path, raw, "a group of keys", hidden))
        return cast("S", Refused())
    fields = {field.encode_name: field for field in msgspec.structs.fields(cls)}
    errors.extend(_unknown(_join(path, str(key)), str(key), fields) for key in raw if key not in fields)
    values: dict[str, Any] = {}
    for key, field in fields.items():
        if key in raw:
            values[field.name] = _value(field.type, raw[key], errors, _join(path, key), hidden)
        elif field.required:
            errors.append(f"{_join(path, key)}: missing; {_allowed(field.type)}")
            values[field.name] = Refused()
    return cls(**values)


def group_type(annotation: object) -> type[msgspec.Struct] | None:
    """Return the Struct of a field's type, also where the field may be None; None for a leaf."""
    return next((option for option in (annotation, *get_args(annotation)) if _is_group(option)), None)


def _is_group(option: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(option, type) and issubclass(option, msgspec.Struct)


def _value(annotation: object, raw: object, errors: list[str], path: str, hidden: Collection[str]) -> object:
    if (group := group_type(annotation)) is not None:
        return build(group, raw, errors, path=path, hidden=hidden)
    try:
        return msgspec.convert(raw, annotation)
    except msgspec.ValidationError:
        errors.append(_fault(path, raw, _allowed(annotation), hidden))
        return Refused()


def _allowed(annotation: object) -> str:
    if group_type(annotation) is not None:
        return "a group of keys"
    metas = [part for part in get_args(annotation) if isinstance(part, msgspec.Meta)]
    if get_origin(annotation) is not Annotated or not metas or not metas[0].description:
        raise TypeError(f"{annotation!r} does not say what is allowed: annotate it with a msgspec.Meta description")
    return metas[0].description


def _fault(path: str, raw: object, allowed: str, hidden: Collection[str]) -> str:
    secret = any(path == place or path.startswith(f"{place}.") for place in hidden)
    return f"{path or 'settings'}: {'the value (not shown)' if secret else repr(raw)} is not allowed; {allowed}"


def _unknown(path: str, key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(sorted(known))}"
    return f"{path}: unknown key; {hint}"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
