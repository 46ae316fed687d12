"""What is compiled, where a compiler was there when this was installed: see ``native.h``.

Shortcuts for what nearly every lookup needs, whose rules are in Python: ``hit_path`` for ``Local.reader``, ``settler``
for ``Reader.take`` and what that calls. CACHE_PURE_PYTHON, set to anything, leaves them out: to compare, or to be sure.
"""

from __future__ import annotations

import os
from types import ModuleType

from cacheclient.clock import Gate
from cacheclient.contract import Env
from cacheclient.entry import Stored
from cacheclient.held import Item
from cacheclient.stats import TierStats


def load() -> ModuleType | None:
    """Return the compiled module; None if there is none, it is not wanted, or does not know this Python's objects."""
    if os.environ.get(Env.PURE_PYTHON):
        return None
    try:
        from cacheclient.native import _native  # noqa: PLC0415  it may not be there

        _native.learn(Item, TierStats, Gate, Stored)
    except (ImportError, AttributeError, TypeError):
        return None
    return _native


compiled = load()
