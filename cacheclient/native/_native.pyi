# The signatures of module.c; what they do is said where they are used, in ``local`` and ``reading``.

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cacheclient.clock import Clock, Gate
from cacheclient.entry import Stored
from cacheclient.held import Item
from cacheclient.stats import TierStats

def learn(item: type[Item], stats: type[TierStats], gate: type[Gate], stored: type[Stored], /) -> None: ...
def hit_path(
    table: dict[str, Item],
    clock: Clock | None,
    gate: Gate,
    stats: TierStats,
    sample: Callable[[str], None],
    every: int,
    most: int,
    absent: object,
    /,
) -> Callable[[str], Any]: ...
def settler(
    codec_id: int,
    parse: Callable[[bytes], Any],
    stored: type[Stored],
    nothing: tuple[None, float],
    tags_of: Callable[[bytes], Any],
    local: object,
    abandon: Callable[..., None],
    mask: int,
    /,
) -> Callable[
    [Any, Sequence[str], Sequence[bytes | None], Mapping[Any, Any], float, int, Any], tuple[int, int, list[int]]
]: ...
