"""What a verification found, whatever the database."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.compare import Comparison


@dataclass(frozen=True)
class Report:
    server_version: str
    status: str
    comparisons: list[Comparison]
    faults: list[str] = field(default_factory=list)
    product: str = "PostgreSQL"

    @property
    def relations(self) -> int:
        return next(c.expected for c in self.comparisons if c.kind == "relations")

    @property
    def passed(self) -> bool:
        compared = all(comparison.equal for comparison in self.comparisons)
        return compared and not self.faults and self.status == "succeeded"
