"""Tokens of administrators, in a file or in a directory such as a mounted Kubernetes Secret.

They are read at every request of an administrator, so that a rotation needs no restart: put the new token beside the
old one, have it used, then take the old one away. What cannot be read admits nobody.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from cacheclient.errors import ConfigurationError

MIN_TOKEN: Final = 16  # characters: what is shorter can be guessed
MAX_TOKEN: Final = 8192
_log = logging.getLogger("cacheclient")


class Tokens:
    """The tokens in a file, one a line, or in all files of a directory; the name of the file says whose they are.

    Raises:
        ConfigurationError: if there is no token now, or one is not 16 to 8192 characters.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._read()

    def holder(self, token: str) -> str | None:
        """Return the name of the file that ``token`` is in; None if it is in none.

        Digests are compared, in constant time and all of them: how long it takes tells nothing about any token.
        """
        try:
            known = self._read()
        except ConfigurationError as error:
            _log.warning("cacheclient: nobody is an administrator by token: %s", error)
            return None
        given, found = _digest(token), None
        for name, digest in known:
            if hmac.compare_digest(given, digest):
                found = name
        return found

    def _read(self) -> list[tuple[str, bytes]]:
        try:
            found = [(path.name, token) for path in self._files() for token in _tokens(path)]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"admin tokens {self._path}: {error}") from error
        if not found:
            raise ConfigurationError(f"admin tokens {self._path}: is empty")
        for name, token in found:
            if not MIN_TOKEN <= len(token) <= MAX_TOKEN:
                raise ConfigurationError(f"admin tokens {name}: {MIN_TOKEN} to {MAX_TOKEN} characters, one a line")
        return [(name, _digest(token)) for name, token in found]

    def _files(self) -> list[Path]:
        if not self._path.is_dir():
            return [self._path]
        # Kubernetes keeps the versions of a Secret in directories whose names begin with two dots.
        return sorted(path for path in self._path.iterdir() if not path.name.startswith(".") and path.is_file())


def _tokens(path: Path) -> Iterator[str]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return (line for line in lines if line)


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
