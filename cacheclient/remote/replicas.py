"""Whether every replica has what was written over a connection.

WAIT holds up whatever follows it on its connection. Several in a row, with a replica that hangs, held it up for longer
than a command may take: every write timed out, and the connection was given up. So one is under way at a time, and
whoever wrote before it left shares its answer.
"""

from __future__ import annotations

import asyncio

from cacheclient.remote.pipe import Pipe


class Replicas:
    """The replicas of the server at the other end of one connection."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._asked = 0  # how many have asked so far
        self._covered = 0  # of those, for how many the last answer holds
        self._answer = False

    async def have_all(self, writes: Pipe, within: float) -> bool:
        """Return whether all have, within so many seconds, what was sent over ``writes`` before; and there is one."""
        self._asked += 1
        own = self._asked
        async with self._turn:
            if self._covered < own:
                covered = self._asked
                self._answer = await _ask(writes, within)
                self._covered = covered
            return self._answer


async def _ask(writes: Pipe, within: float) -> bool:
    role = await writes.call("ROLE")
    if role[0] != b"master" or not role[2]:
        return False
    # All of them: a partition may leave the others on the far side, and one of those be promoted there.
    milliseconds = max(1, round(within * 1000))  # 0 would be for ever
    return bool(await writes.call("WAIT", len(role[2]), milliseconds) >= len(role[2]))
