"""Kubernetes quantities as numbers, for the rules between settings.

Only the forms that a stack file may use (see ``infra.setting_types``) are understood: powers of 1024 for sizes,
cores or thousandths of a core for CPU.
"""

from __future__ import annotations

from typing import Final

MIB: Final = 2**20
_UNITS: Final = {"Mi": MIB, "Gi": 2**30, "Ti": 2**40}


def size_bytes(quantity: str) -> int:
    """Return the bytes of a size such as ``512Mi``.

    Raises:
        ValueError: if the text is not a whole number followed by Mi, Gi or Ti.
    """
    number, unit = quantity[:-2], quantity[-2:]
    if unit not in _UNITS or not number.isdecimal():
        raise ValueError(f"{quantity!r}: a whole number followed by Mi, Gi or Ti, such as 512Mi")
    return int(number) * _UNITS[unit]


def millicores(quantity: str) -> int:
    """Return thousandths of a CPU core: 500 for ``500m``, 2000 for ``2``.

    Raises:
        ValueError: if the text is neither whole cores nor whole thousandths with the suffix m.
    """
    number, factor = (quantity[:-1], 1) if quantity.endswith("m") else (quantity, 1000)
    if not number.isdecimal():
        raise ValueError(f"{quantity!r}: whole cores such as 2, or thousandths such as 500m")
    return int(number) * factor
