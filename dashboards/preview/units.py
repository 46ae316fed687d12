"""Values as people read them, by the Grafana unit of a panel. Pure."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

_SI: Final = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_IEC: Final = ((2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"), (1.0, ""))
_TIME: Final = ((604800.0, "w"), (86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SUFFIX: Final = {"ops": "/s", "reqps": "/s", "bytes": "B", "Bps": "B/s", "short": "", "none": ""}
BINARY: Final = frozenset({"bytes", "Bps"})  # units that people count in powers of 1024
_CURRENCY: Final = {"currencyUSD": "$", "currencyEUR": "€"}


def text(value: float, unit: str) -> str:
    """Return ``value`` in three significant digits with its unit, such as ``4.21 ms`` or ``84.3 %``."""
    if math.isnan(value):
        return "no data"
    if unit == "percentunit":
        return f"{_digits(value * 100)} %"
    if unit == "s":
        return _time(value)
    if unit in _CURRENCY:
        sign = "-" if value < 0 else ""
        return f"{sign}{_CURRENCY[unit]}{_scaled(abs(value), _SI, '', tight=True)}"
    if unit in BINARY:
        return _scaled(value, _IEC, _SUFFIX[unit])
    return _scaled(value, _SI, _SUFFIX.get(unit, unit))


def clock(moment: float, *, seconds: bool = False) -> str:
    """Return the local time of day of a Unix time."""
    local = dt.datetime.fromtimestamp(moment).astimezone()
    return f"{local:%H:%M:%S}" if seconds else f"{local:%H:%M}"


def _time(value: float) -> str:
    for size, name in _TIME:
        if abs(value) >= size * 0.9995:
            return f"{_digits(value / size)} {name}"
    return f"{_digits(value / _TIME[-1][0])} µs" if value else "0 s"


def _scaled(value: float, steps: tuple[tuple[float, str], ...], suffix: str, *, tight: bool = False) -> str:
    size, prefix = next(((s, p) for s, p in steps if abs(value) >= s * 0.9995), steps[-1])
    gap = "" if tight or not (prefix or suffix) else " "
    return f"{_digits(value / size)}{gap}{prefix}{suffix}"


def _digits(value: float) -> str:
    """Return three significant digits, without zeros that say nothing; whole numbers stay whole."""
    if value == 0 or abs(value) >= 100:  # noqa: PLR2004  three digits before the point
        return f"{value:.0f}"
    shown = f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown
