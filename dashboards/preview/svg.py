"""SVG as text: elements, places, and the colours of the house style. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

# Told apart by people with every kind of colour vision, on white and on dark grey.
SERIES: Final = (
    "#3b7dd8", "#e8833a", "#2f9e6b", "#b65fc0", "#c9475b", "#1f9ea8", "#8d6b4f", "#a88f00", "#6b7a8f", "#7a5cd6",
)  # fmt: skip
NAMED: Final = {
    "green": "#2f9e5b",
    "orange": "#dd7f0e",
    "red": "#d03c3c",
    "blue": "#3b7dd8",
    "purple": "#8a5cd0",
    "text": "currentColor",
}
STYLE: Final = """
svg{--paper:#f4f5f7;--panel:#fff;--line:#dfe3e8;--ink:#22272e;--faint:#69717c;background:var(--paper)}
@media (prefers-color-scheme:dark){svg{--paper:#111417;--panel:#1b1f24;--line:#333a42;--ink:#e3e7ec;--faint:#98a1ac}}
svg{color:var(--ink);fill:var(--ink);font-family:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:11px}
.panel{fill:var(--panel);stroke:var(--line)} .grid{stroke:var(--line)} .faint{fill:var(--faint)}
.title{font-size:12.5px;font-weight:600} .row{font-size:15px;font-weight:600} .board{font-size:22px;font-weight:700}
.figure{font-size:30px;font-weight:650;text-anchor:middle} .plain{font-size:12px} .end{text-anchor:end}
.mid{text-anchor:middle} .on{fill:#fff} .bad{fill:#d03c3c} .line{fill:none;stroke-width:1.6;stroke-linejoin:round}
"""
_CHARACTER: Final = 6.1  # about the width of one at the size of labels, in pixels


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.y + self.height

    def inside(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> Box:
        """Return the rectangle without these margins."""
        return Box(self.x + left, self.y + top, self.width - left - right, self.height - top - bottom)


def tag(name: str, *inside: str, **attributes: Any) -> str:
    """Return an element. ``class_`` stands for class, ``_`` in a name for a hyphen; numbers get one decimal."""
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}={quoteattr(f'{value:.1f}' if isinstance(value, float) else str(value))}"
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{''.join(inside)}</{name}>" if inside else f"<{name}{written}/>"


def label(words: str, x: float, y: float, class_: str = "", hint: str = "", **attributes: Any) -> str:
    """Return a line of text; ``hint`` shows while the pointer is on it."""
    return tag("text", escape(words), title(hint), x=float(x), y=float(y), class_=class_, **attributes)


def title(words: str) -> str:
    """Return what browsers show while the pointer is on the element around it; nothing for no words."""
    return f"<title>{escape(words)}</title>" if words else ""


def rect(box: Box, *inside: str, **attributes: Any) -> str:
    """Return a rectangle."""
    return tag(
        "rect", *inside, x=float(box.x), y=float(box.y), width=float(max(0.0, box.width)),
        height=float(max(0.0, box.height)), **attributes,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, *inside: str, **attributes: Any) -> str:
    """Return a straight line."""
    return tag("line", *inside, x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), **attributes)


def width_of(words: str) -> float:
    """Return about how wide a label is, in pixels."""
    return len(words) * _CHARACTER


def fitted(words: str, width: float) -> str:
    """Return ``words``, shortened to about ``width`` pixels."""
    room = max(1, int(width / _CHARACTER))
    return words if len(words) <= room else words[: room - 1] + "…"


def colour(name: str) -> str:
    """Return the colour of a threshold or a mapping by its Grafana name."""
    return NAMED.get(name, name)
