"""Reading the processes' logs: last words of the dead, and the events of a failover merged by time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

TAIL_BYTES: Final = 64 * 1024

# A line of Redis or Sentinel starts with pid:role and a date (in UTC, as the processes are started); one of a script
# with an ISO date, the script and the node.
_SERVER_LINE: Final = re.compile(r"\d+:[A-Z] (\d+ \w+ \d{4} \d\d:\d\d:\d\d\.\d{3}) \S (.*)")
_SCRIPT_LINE: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) (\S+) \S+: (.*)")

# What Sentinel publishes about nodes, and what a node logs when its role changes.
_NOTABLE: Final = re.compile(
    r"[+-](sdown|odown|switch-master|try-failover|elected-leader|selected-slave|failover-\S+|role-change|reboot|tilt|"
    r"slave|sentinel|monitor|convert-to-slave|slave-reconf-done) |(MASTER|PRIMARY) MODE enabled|"
    r"(MASTER|PRIMARY) <-> REPLICA sync: Finished|Connection with (master|primary) lost|Received SIG|bye bye|"
    r"[Pp]artial resync|Full resync|Can't save|Error|FATAL"
)


class Event(NamedTuple):
    """One notable log line."""

    time: datetime
    process: str
    text: str


def tail(log: Path, lines: int) -> list[str]:
    """Return the last lines of a log; none if there is no log yet."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:] if lines > 0 else []
    except FileNotFoundError:
        return []


def last_words(log: Path) -> str:
    """Explain from its log why a process has ended."""
    return explain_end(tail(log, 5))


def explain_end(last_lines: list[str]) -> str:
    """Explain from its last log lines why a process has ended."""
    last = last_lines[-1].strip() if last_lines else ""
    script = _SCRIPT_LINE.fullmatch(last)
    if script and script[3].startswith("refused: "):
        return f"it refused to start: {script[3].removeprefix('refused: ')}"
    if any("bye bye" in line for line in last_lines):
        return "it was told to shut down by somebody else"
    return f"it was killed or crashed; its last line: {last}" if last else "it was killed or crashed without a log line"


def parse(process: str, line: str) -> Event | None:
    """Return the event a log line tells of, or None: every decision of a script, and what `_NOTABLE` lists."""
    if script := _SCRIPT_LINE.fullmatch(line):
        return Event(datetime.fromisoformat(script[1]), process, f"{script[2]}: {script[3]}")
    server = _SERVER_LINE.fullmatch(line)
    if server is None or not _NOTABLE.search(server[2]):
        return None
    time = datetime.strptime(server[1], "%d %b %Y %H:%M:%S.%f").replace(tzinfo=UTC)
    return Event(time, process, server[2].partition(" (user request from")[0])


def events(logs: Iterable[tuple[str, Path]]) -> list[Event]:
    """Return the notable lines of several logs in the order of their times."""

    def of_one(process: str, log: Path) -> Iterator[Event]:
        for line in tail(log, 10_000):
            event = parse(process, line)
            if event is not None:
                yield event

    return sorted(event for process, log in logs for event in of_one(process, log))
