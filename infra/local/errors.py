"""The one error of the local environment."""

from __future__ import annotations


class LocalError(Exception):
    """Something the user can act on; the text is one line that says what is wrong and what to do."""
