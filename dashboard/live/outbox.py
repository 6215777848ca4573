"""What waits for one socket: short, and never a growing queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from dashboard.live.admission import Ticket

OUTBOX_LIMIT = 64


@dataclass(eq=False)
class Outbox:
    """`newest` builds the whole state, for a socket too slow for the deltas."""

    ticket: Ticket
    newest: Callable[[], str]
    texts: deque[str] = field(default_factory=deque)
    behind: bool = False
    last: list[str] = field(default_factory=list)
    code: int | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, text: str) -> None:
        if self.behind or self.code is not None:
            return
        if len(self.texts) >= OUTBOX_LIMIT:
            self.texts.clear()
            self.behind = True
        else:
            self.texts.append(text)
        self.ready.set()

    def finish(self, last: list[str]) -> None:
        """`last` holds the whole state, so what still waits is not needed before it."""
        self.texts.clear()
        self.behind = False
        self.last = last
        self.close(1000)

    def close(self, code: int) -> None:
        if self.code is None:
            self.code = code
            self.ready.set()

    async def take(self) -> tuple[list[str], int | None]:
        """The texts to send next, and a close code if they are the last."""
        await self.ready.wait()
        self.ready.clear()
        if self.code is not None:
            return self.last, self.code
        if self.behind:
            self.behind = False
            return [self.newest()], None
        texts = list(self.texts)
        self.texts.clear()
        return texts, None
