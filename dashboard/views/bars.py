"""Lengths of bars, as the percent values of SVG attributes."""

from __future__ import annotations

from dataclasses import dataclass


def percent(part: float, whole: float) -> float:
    """0–100 with two decimals; of nothing it is 0."""
    return round(100 * min(max(part / whole, 0), 1), 2) if whole else 0.0


@dataclass(frozen=True)
class Bar:
    """`done` is proven, `in_flight` may be read again."""

    done: int
    in_flight: int
    total: int

    @property
    def done_percent(self) -> float:
        return percent(self.done, self.total)

    @property
    def flying_percent(self) -> float:
        return min(percent(self.in_flight, self.total), 100 - self.done_percent)

    @property
    def percent(self) -> int:
        """Rounded down: 100 is said of all only."""
        return 100 * self.done // self.total if self.total else 0
