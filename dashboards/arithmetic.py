"""PromQL put together by the operators of Python, so that a formula is written once for numbers and queries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Expression:
    """A PromQL expression; sums and quotients of it are in brackets, so it may stand anywhere."""

    text: str

    def __add__(self, other: Expression, /) -> Expression:
        return Expression(f"({self.text} + {other.text})")

    def __mul__(self, other: Expression, /) -> Expression:
        return Expression(f"{self.text} * {other.text}")

    def __truediv__(self, other: float, /) -> Expression:
        return Expression(f"({self.text} / {other:.17g})")

    def __str__(self) -> str:
        return self.text
