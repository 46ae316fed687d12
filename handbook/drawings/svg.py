"""A few shapes as SVG, in the colours of the site: light or dark as its reader has chosen, light elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

_STYLE: Final = """
.drawing-of { font: 13px system-ui, "DejaVu Sans", sans-serif; }
.drawing-of text { fill: var(--md-default-fg-color, #212121); }
.drawing-of .quiet { fill: var(--md-default-fg-color--light, #616161); font-size: 11.5px; }
.drawing-of .title { font-weight: 600; }
.drawing-of .box { fill: var(--md-code-bg-color, #f5f7f8); stroke: var(--md-typeset-a-color, #1a6a84); }
.drawing-of .outer { fill: none; stroke: var(--md-default-fg-color--lighter, #9e9e9e); stroke-dasharray: 5 4; }
.drawing-of .line { fill: none; stroke: var(--md-typeset-a-color, #1a6a84); stroke-width: 1.4; }
.drawing-of .rule { stroke: var(--md-default-fg-color--lightest, #dddddd); }
.drawing-of .tip { fill: var(--md-typeset-a-color, #1a6a84); stroke: none; }
.drawing-of .behind { fill: var(--md-default-bg-color, #ffffff); }
.drawing-of .solid { fill: var(--md-typeset-a-color, #1a6a84); }
.drawing-of .pale { fill: var(--md-accent-fg-color, #1f8aa8); opacity: .35; }
.drawing-of .bar { fill: var(--md-default-fg-color--lightest, #e0e0e0); }
"""


@dataclass(slots=True)
class Drawing:
    """Shapes on a sheet; lengths are pixels of its own size, which a page scales."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, w: float, h: float, title: str, lines: Sequence[str] = ()) -> None:
        """Draw a box with a title and lines below it, in its middle."""
        self.parts.append(f'<rect class="box" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="6"/>')
        top = y + h / 2 - 8 * len(lines) + 4
        self.text(x + w / 2, top, title, "title", "middle")
        for number, line in enumerate(lines, 1):
            self.text(x + w / 2, top + 17 * number, line, "quiet", "middle")

    def outer(self, x: float, y: float, w: float, h: float, title: str) -> None:
        """Draw what several boxes are in."""
        self.parts.append(f'<rect class="outer" x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="8"/>')
        self.text(x + 10, y + 16, title, "quiet")

    def bar(self, x: float, y: float, w: float, h: float, kind: str) -> None:
        """Draw a bar of one of the kinds ``solid``, ``pale`` and ``bar``."""
        self.parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:g}" width="{w:.1f}" height="{h:g}" rx="2"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Write words."""
        self.parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def rule(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Draw a thin line that helps the eye."""
        self.parts.append(f'<line class="rule" x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}"/>')

    def arrow(
        self, x: float, y: float, to_x: float, to_y: float, label: str = "", *, bend: float = 0, at: float = 0.5
    ) -> None:
        """Draw an arrow, bent to its right by ``bend``, with a label at that share of its length."""
        length = math.hypot(to_x - x, to_y - y) or 1
        aside = (-(to_y - y) / length * bend, (to_x - x) / length * bend)
        middle = ((x + to_x) / 2 + 2 * aside[0], (y + to_y) / 2 + 2 * aside[1])
        self.parts.append(
            f'<path class="line" d="M{x:.1f} {y:.1f} Q{middle[0]:.1f} {middle[1]:.1f} {to_x:.1f} {to_y:.1f}"/>'
        )
        angle = math.atan2(to_y - middle[1], to_x - middle[0])
        corners = [(to_x, to_y)] + [
            (to_x - 9 * math.cos(angle + s), to_y - 9 * math.sin(angle + s)) for s in (0.4, -0.4)
        ]
        self.parts.append(f'<path class="tip" d="M{" L".join(f"{cx:.1f} {cy:.1f}" for cx, cy in corners)} Z"/>')
        if label:
            rest = 1 - at
            on = [
                rest * rest * a + 2 * rest * at * b + at * at * c
                for a, b, c in zip((x, y), middle, (to_x, to_y), strict=True)
            ]
            wide = 6.4 * len(label) + 6
            self.parts.append(
                f'<rect class="behind" x="{on[0] - wide / 2:.1f}" y="{on[1] - 8:.1f}" width="{wide:.1f}" height="16"/>'
            )
            self.text(on[0], on[1] + 4, label, "quiet", "middle")

    def svg(self) -> str:
        """Return the drawing."""
        body = "\n".join(self.parts)
        box = f'viewBox="0 0 {self.width} {self.height}"'
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing-of" {box} role="img">\n'
            f"<title>{escape(self.title)}</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"
        )
