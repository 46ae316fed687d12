"""One SVG a bar: the candidates of every workload as bars, with the range of the rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.bars import BARS
from bench.figures import OURS, Series
from bench.report import Results, amount

_OURS_COLOR: Final = "#1f6f8b"
_PEER_COLOR: Final = "#b8c4cc"
_SPREAD_TO_LOG: Final = 30  # above this ratio of the largest to the smallest figure a linear axis hides the small ones


def draw(results: Results, folder: Path) -> list[Path]:
    """Write ``<folder>/<bar>.svg`` for every bar that was measured; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams["svg.hashsalt"] = "cachestack"  # the same figures give the same file
    files = []
    for name, outcome in results.items():
        if outcome.series:
            files.append(folder / f"{name}.svg")
            _bar(name, outcome.series, files[-1])
    return files


def _bar(name: str, series: tuple[Series, ...], path: Path) -> None:
    rows = [len(one.rounds) + 1 for one in series]
    figure, axes = plt.subplots(
        len(series), 1, figsize=(8, 0.32 * sum(rows) + 0.6 * len(series) + 0.4), squeeze=False, height_ratios=rows,
        layout="constrained",
    )  # fmt: skip
    figure.suptitle(f"{name}: {BARS[name].title}", fontsize=11)
    for axis, one in zip(axes[:, 0], series, strict=True):
        _workload(axis, one)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _workload(axis: Axes, series: Series) -> None:
    names = list(series.rounds)
    middles = [series.middle(name) for name in names]
    low = [middle - min(series.rounds[name]) for name, middle in zip(names, middles, strict=True)]
    high = [max(series.rounds[name]) - middle for name, middle in zip(names, middles, strict=True)]
    colors = [_OURS_COLOR if name == OURS else _PEER_COLOR for name in names]
    bars = axis.barh(names, middles, color=colors, xerr=[low, high], error_kw={"elinewidth": 0.8, "alpha": 0.6})
    axis.bar_label(bars, [amount(middle) for middle in middles], padding=4, fontsize=8)
    if min(middles) > 0 and max(middles) / min(middles) > _SPREAD_TO_LOG:
        axis.set_xscale("log")
    axis.invert_yaxis()
    axis.margins(x=0.15)
    better = "more is better" if series.higher_is_better else "less is better"
    axis.set_title(f"{series.title} ({series.unit}, {better})", fontsize=9, loc="left")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right"]].set_visible(False)
