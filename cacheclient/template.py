"""Key templates: ``"profile:{browser}:{major}"`` as a function of a call's arguments. Checked once, compiled once.

Two calls with different arguments never share a key:

- Every parameter is in the template, or named in ``ignore`` (a database session, say); ``self`` and ``cls`` always are.
- In a value, everything but ASCII letters, digits, ``_``, ``.`` and ``-`` is percent-encoded, and what stands between
  two fields of the template holds at least one other character: so it is plain where each value ends. An empty str is
  written as a lone ``%``.
- An argument of the type that its parameter is annotated with (str where it is not) is written plainly: ``120``. One
  of any other type carries a mark: the str ``120`` for an int is ``~s120``, None is ``~n``.
- What would be too long for a key ends with its SHA-256 instead.
"""

from __future__ import annotations

import datetime as dt
import difflib
import hashlib
import inspect
import re
import string
from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from enum import Enum
from itertools import pairwise
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin
from urllib.parse import quote
from uuid import UUID

from cacheclient.errors import ConfigurationError

_SAFE: Final = re.compile(r"[A-Za-z0-9_.-]+")
_ENDS_A_VALUE: Final = re.compile(r"[^A-Za-z0-9_.%~-]")
_HASHED: Final = len("~h") + 64


def compiled(
    template: str, function: Callable[..., Any], *, limit: int, ignore: Collection[str] = ()
) -> Callable[..., str]:
    """Return the key of a call as a function with the signature of ``function``.

    Args:
        template: literal text and fields; a field is the name of a parameter in braces, ``{{`` a brace.
        function: what is called.
        limit: bytes that the key may have.
        ignore: parameters that are not part of the key.

    Raises:
        ConfigurationError: if that cannot work; the text names the parameter or the field.
    """
    where = f"{template!r} for {getattr(function, '__qualname__', function)}"
    parameters = _parameters(function, where)
    pieces = list(_pieces(template, where))
    _check_names([field for _, field in pieces if field], parameters, ignore, where)
    for (_, earlier), (literal, field) in pairwise(pieces):
        if earlier and field and not _ENDS_A_VALUE.search(literal):
            raise ConfigurationError(
                f"{where}: between {{{earlier}}} and {{{field}}} a character like : or / is needed"
            )
    return _generated(function, parameters, pieces, limit)


def compiled_tag(template: str, function: Callable[..., Any], *, limit: int) -> Callable[..., str]:
    """Return a tag of a call likewise; a tag need not name every parameter: calls may share one.

    Raises:
        ConfigurationError: if that cannot work.
    """
    where = f"tag {template!r} for {getattr(function, '__qualname__', function)}"
    parameters = _parameters(function, where)
    pieces = list(_pieces(template, where))
    _check_names([field for _, field in pieces if field], parameters, parameters, where)
    return _generated(function, parameters, pieces, limit)


def _parameters(function: Callable[..., Any], where: str) -> dict[str, inspect.Parameter]:
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:  # an annotation that is imported for type checkers only
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{where}: its parameters are not known: {error}") from error
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ConfigurationError(f"{where}: {parameter} cannot be part of a key; name each parameter")
    return dict(signature.parameters)


def _pieces(template: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield (literal, name of the field behind it), the last with an empty name."""
    if not isinstance(template, str) or not template or not template.isprintable():
        raise ConfigurationError(f"{where}: a str of printable characters is needed")
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    for literal, field, spec, conversion in parts:
        if field is not None and (spec or conversion or not field.isidentifier()):
            raise ConfigurationError(
                f"{where}: a field is the name of a parameter, as in {{user}}, without attribute, index, format"
            )
        yield literal, field or ""


def _check_names(fields: Collection[str], parameters: Collection[str], ignore: Collection[str], where: str) -> None:
    own = next(iter(parameters), "")
    own = own if own in ("self", "cls") else ""
    for name in (*fields, *ignore):
        if name not in parameters or (name == own and name in fields):
            nearest = difflib.get_close_matches(name, parameters, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest and nearest[0] != own else f"it has {', '.join(parameters)}"
            raise ConfigurationError(f"{where}: no parameter {name!r} for a key; {hint}")
    for name in parameters:
        if name not in fields and name not in ignore and name != own:
            raise ConfigurationError(
                f"{where}: calls that differ in {name!r} would share an entry; add {{{name}}}, or ignore=[{name!r}]"
            )


def _generated(
    function: Callable[..., Any], parameters: dict[str, inspect.Parameter], pieces: list[tuple[str, str]], limit: int
) -> Callable[..., str]:
    """Return the function; generated, as dataclasses are: binding arguments is then Python's own, and as fast."""
    ours = "_"  # what our names in its scope begin with
    while any(name.startswith(ours) for name in parameters):
        ours += "_"
    scope: dict[str, Any] = {f"{ours}shorten": _shortener(limit)}
    terms = []
    for number, (literal, field) in enumerate(pieces):
        if literal:
            terms.append(repr(literal))
        if field:
            scope[f"{ours}write{number}"] = _writer(parameters[field])
            terms.append(f"{ours}write{number}({field})")
    extra = sum(len(literal.encode()) - len(literal) for literal, _ in pieces)  # values are ASCII
    source = (
        f"def {ours}key({_declared(parameters, scope, ours)}):\n"
        f"    {ours}k = {' + '.join(terms)}\n"
        f"    return {ours}k if len({ours}k) <= {limit - extra} else {ours}shorten({ours}k)\n"
    )
    exec(source, scope)  # noqa: S102  identifiers and reprs of ours; the values are in the scope
    key: Callable[..., str] = scope[f"{ours}key"]
    key.__name__ = key.__qualname__ = getattr(function, "__name__", "key")  # what a TypeError about arguments names
    return key


def _declared(parameters: dict[str, inspect.Parameter], scope: dict[str, Any], ours: str) -> str:
    """Return the parameter list as source text; the defaults go into the scope."""
    words: list[str] = []
    for number, parameter in enumerate(parameters.values()):
        before = words and list(parameters.values())[number - 1].kind
        if before == parameter.POSITIONAL_ONLY != parameter.kind:
            words.append("/")
        if parameter.kind is parameter.KEYWORD_ONLY and before != parameter.KEYWORD_ONLY:
            words.append("*")
        word = parameter.name
        if parameter.default is not parameter.empty:
            scope[f"{ours}default{number}"] = parameter.default
            word += f"={ours}default{number}"
        words.append(word)
        if number == len(parameters) - 1 and parameter.kind is parameter.POSITIONAL_ONLY:
            words.append("/")
    return ", ".join(words)


def _shortener(limit: int) -> Callable[[str], str]:
    def shorten(key: str) -> str:
        head = key.encode()[: limit - _HASHED].decode("utf-8", "ignore")
        return f"{head}~h{hashlib.sha256(key.encode()).hexdigest()}"

    return shorten


# -- values -----------------------------------------------------------------------------------------------------------


def _quoted(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    return quote(text, safe="", errors="surrogatepass").replace("~", "%7E") or "%"


# How values of each type are written, each in its own way, and the mark they get where another type was expected.
_TEXTS: Final[dict[type, tuple[str, Callable[[Any], str]]]] = {
    str: ("s", _quoted),
    int: ("i", str),
    bool: ("b", str),
    NoneType: ("n", lambda _: ""),
    float: ("f", lambda value: _quoted(repr(value))),
    bytes: ("x", bytes.hex),
    UUID: ("u", str),
    Decimal: ("d", lambda value: _quoted(str(value))),
    dt.datetime: ("t", lambda value: _quoted(value.isoformat())),
    dt.date: ("y", dt.date.isoformat),
}
_NAMES: Final = {kind.__name__: kind for kind in _TEXTS}


def _writer(parameter: inspect.Parameter) -> Callable[[Any], str]:
    """Return what writes the arguments of ``parameter``."""
    plain = _plain_type(parameter.annotation)
    text = _TEXTS[plain][1] if plain in _TEXTS else _enum_name

    def write(value: Any) -> str:
        return text(value) if type(value) is plain else _marked(parameter.name, value)

    def write_str(value: Any) -> str:
        if type(value) is str:
            return value if value.isalnum() and value.isascii() else _quoted(value)
        return _marked(parameter.name, value)

    return write_str if plain is str else write


def _enum_name(value: Any) -> str:
    return _quoted(value.name)


def _marked(name: str, value: Any) -> str:
    kind = type(value)
    if isinstance(value, Enum):
        return f"~e{_quoted(f'{kind.__module__}.{kind.__qualname__}.{value.name}')}"
    if kind not in _TEXTS:
        raise ConfigurationError(
            f"{name}={value!r:.80}: a key is made of {', '.join(kind.__name__ for kind in _TEXTS)} and Enum, "
            f"not of {kind.__name__}"
        )
    mark, text = _TEXTS[kind]
    return f"~{mark}{text(value)}"


def _plain_type(annotation: Any) -> type:
    """Return the type whose values are written plainly: the first in the annotation that a key can hold, else str."""
    if isinstance(annotation, str):
        names = [name.strip() for name in annotation.split("|")]
        return next((_NAMES[name] for name in names if name in _NAMES and name != "NoneType"), str)
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    known = (m for m in members if isinstance(m, type) and m is not NoneType and (m in _TEXTS or issubclass(m, Enum)))
    return next(known, str)
