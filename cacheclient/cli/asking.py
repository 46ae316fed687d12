"""Asking the cache API of a process."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cacheclient.cli.command import Failure
from cacheclient.contract import ExitCode


def ask(api: str, path: str, *, timeout: float, token: str = "") -> dict[str, Any]:
    """Return what the API at ``api`` answers to a GET within ``timeout`` seconds; ``token`` is an administrator's.

    Raises:
        Failure: if it is no URL, does not answer, or answers with a problem, whose words are told.
    """
    if urlsplit(api).scheme not in {"http", "https"}:
        raise Failure(f"--api {api}: an http:// or https:// URL", ExitCode.USAGE)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{api.rstrip('/')}{path}", headers=headers)  # noqa: S310  checked
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:  # noqa: S310  checked
            answer: dict[str, Any] = json.load(reply)
            return answer
    except urllib.error.HTTPError as error:
        detail = error.reason
        with contextlib.suppress(ValueError, TypeError, KeyError), error:
            detail = json.load(error)["detail"]
        raise Failure(f"{api}: {error.code}: {detail}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Failure(f"{api}: {getattr(error, 'reason', error)}") from error


def read_token(file: str | None) -> str:
    """Return the first line of a file of tokens, or of the last file of a directory of them; empty without one.

    Raises:
        Failure: if there is none to be read.
    """
    if file is None:
        return ""
    path = Path(file)
    try:
        if path.is_dir():  # a mounted Secret; what begins with a dot is the kubelet's
            path = max(each for each in path.iterdir() if each.is_file() and not each.name.startswith("."))
        return path.read_text(encoding="ascii").split()[0]
    except (OSError, ValueError, IndexError) as error:
        raise Failure(f"--token-file {file}: no token can be read there: {error}", ExitCode.USAGE) from error
