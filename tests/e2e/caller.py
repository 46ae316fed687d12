"""A client of the cache API, through its Service. Runs in the image of the jobs, which holds cacheclient.

``caller.py METHOD PATH [TOKEN] [BODY]`` asks once and prints status and body. ``caller.py TOKEN`` stores an entry, has
the API forget it, looks whether it is gone, and so on without end; every half second it prints what it has counted, as
JSON. A request is a connection of its own: the Service chooses a pod for each. What is not answered is sent again.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import time

from cacheclient import Cache

TIMEOUT = 2.0
REPORT = 0.5
PAUSE = 0.01
RUN = str(time.time_ns())  # entries of another run are others


def ask(method: str, path: str, token: str = "", body: str = "") -> tuple[int, str]:
    """Ask once; status 0 if there was no answer."""
    host, _, port = os.environ["API"].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if body:
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        return 0, f"{type(error).__name__}: {error}"
    finally:
        connection.close()


def forget(cache: Cache[int], number: int, token: str, seen: dict[str, float]) -> None:
    """Have one entry forgotten, however often that has to be asked for."""
    key = f"{RUN}:{number}"
    cache.set(key, number)
    began = time.monotonic()
    while (answer := ask("POST", "/cache/invalidate", token, json.dumps({"key": key, "scope": "all_pods"})))[0] != 200:
        # 202: Redis has not acknowledged it yet, and the pod sends it until it does. It is an answer, but no promise.
        seen["pending" if answer[0] == 202 else "failed"] += 1
        print(*answer, file=sys.stderr, flush=True)  # noqa: T201
        time.sleep(PAUSE)
    seen["answered"] += 1
    seen["longest"] = max(seen["longest"], time.monotonic() - began)
    seen["remembered"] += cache.get(key) is not None


def main() -> None:
    """Ask until the end."""
    seen: dict[str, float] = {"answered": 0, "pending": 0, "failed": 0, "remembered": 0, "longest": 0.0}
    told = time.monotonic()
    with Cache[int].from_env() as cache:
        for number in range(10**9):
            forget(cache, number, sys.argv[1], seen)
            if time.monotonic() - told > REPORT:
                told = time.monotonic()
                print(json.dumps({**seen, "run": RUN}), flush=True)  # noqa: T201
            time.sleep(PAUSE)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(json.dumps(ask(*sys.argv[1:])))  # noqa: T201
    else:
        main()
