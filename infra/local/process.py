"""Starting, recognising and ending processes that outlive the program which started them.

A process is known by its pid *and* its start time (proc(5), field 22): a pid may be given to another process after the
first has ended, and that one must never be signalled. A zombie counts as ended: where nobody reaps orphans it would
stay for ever.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

POLL: Final = 0.02
_UNHEARD: Final = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT}
_STATE, _SESSION, _START_TIME = 0, 3, 19  # in /proc/PID/stat, counted after the command's closing parenthesis


class Identity(NamedTuple):
    """A process for certain: its pid and its start time in clock ticks since boot."""

    pid: int
    started: int


def spawn(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> Identity:
    """Start a process in a session of its own, with its output appended to ``log`` and nothing else inherited.

    Raises:
        OSError: if the program cannot be started.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _handed_down()),
        ],
        setsid=True,
    )
    # A child stays a zombie until it is waited for, so its entry is there even if it has ended already.
    return Identity(pid, int(_stat(pid)[_START_TIME]))


def _handed_down() -> list[int]:
    """Return what a child would inherit besides its standard streams: a lock, or a pipe, of whoever started us."""
    found = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return [descriptor for descriptor in found if descriptor > 2 and _inheritable(descriptor)]  # noqa: PLR2004


def _inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:  # the one by which the folder was listed
        return False


def running(identity: Identity) -> bool:
    """Say whether this very process is still there (a stopped one is); one without a pid was never started."""
    if not identity.pid:
        return False
    _reap(identity.pid)
    stat = _stat(identity.pid)
    return bool(stat) and stat[_STATE] not in "ZX" and int(stat[_START_TIME]) == identity.started


def paused(identity: Identity) -> bool:
    """Say whether the process is stopped by SIGSTOP."""
    return running(identity) and _stat(identity.pid)[_STATE] == "T"


def send(identity: Identity, signal_number: signal.Signals) -> bool:
    """Send a signal; return whether the process was there to get it.

    What a process cannot hear of, and so cannot hand on, goes to its workers, too: they are of its session.
    """
    if not running(identity):
        return False
    with contextlib.suppress(ProcessLookupError):  # ended in between
        (os.killpg if signal_number in _UNHEARD else os.kill)(identity.pid, signal_number)
    return True


def end(identities: Iterable[Identity], *, grace: float) -> None:
    """SIGTERM to all, SIGKILL to those still there after ``grace`` seconds, and to workers that any has left behind."""
    given = list(identities)
    left = [identity for identity in given if running(identity)]
    orphaned = [identity for identity in given if identity not in left and _outlived(identity)]
    for identity in left:
        send(identity, signal.SIGTERM)
        send(identity, signal.SIGCONT)  # a paused process would never see the SIGTERM
    wait_until(lambda: not any(map(running, left)), grace)
    for identity in (*left, *orphaned):
        with contextlib.suppress(ProcessLookupError):  # the group is gone, as it should be
            os.killpg(identity.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(running, left)), grace)


def wait_until(condition: Callable[[], bool], seconds: float, *, poll: float = POLL) -> bool:
    """Look at ``condition`` until it holds or ``seconds`` have passed; return whether it held."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll)
    return True


def _outlived(identity: Identity) -> bool:
    """Say whether a process that has ended, killed by somebody else, has workers left.

    They are in its session, and as long as they are there, nobody else gets its number.
    """
    leader = _stat(identity.pid)
    if not identity.pid or (leader and int(leader[_START_TIME]) != identity.started):
        return False
    stats = [_stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return any(
        int(stat[_SESSION]) == identity.pid and int(stat[_START_TIME]) >= identity.started for stat in stats if stat
    )


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # not a child of ours: whoever adopted it reaps it
        os.waitpid(pid, os.WNOHANG)


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.rpartition(")")[2].split()
