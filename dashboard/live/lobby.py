"""All runs, coarsely: who looks at the list sees each change, twice a second at most."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from dashboard import runs
from dashboard.live import messages
from dashboard.live.board import Board
from dashboard.live.outbox import Outbox
from dashboard.live.picture import draw
from dashboard.models import Run


class Lobby:
    SHOWN: ClassVar[int] = 50

    def __init__(self) -> None:
        self.members: set[Outbox] = set()
        self.joining = 0
        self.shown: dict[str, Any] = {}
        self.open_runs: set[str] = set()
        self.touched: set[str] = set()
        self.sent = 0

    def clear(self) -> None:
        self.shown, self.open_runs, self.touched = {}, set(), set()

    def touch(self, run_id: str) -> None:
        if self.members:
            self.touched.add(run_id)

    def show(self, rows: list[Run], boards: Mapping[str, Board | None]) -> None:
        """Take the newest rows; what differs from what was shown is sent."""
        now = time.time()
        told = {str(run.id): _told(run, boards.get(str(run.id)), now) for run in rows}
        for run_id, run in told.items():
            if self.shown.get(run_id) != run:
                self._send(run_id, run)
        self.shown = told
        self.open_runs = {str(run.id) for run in rows if run.is_open}

    def flush(self, boards: Mapping[str, Board | None]) -> None:
        """Send the runs that frames have touched since the last time."""
        touched, self.touched = self.touched & self.open_runs, set()
        for run_id in touched:
            board = boards.get(run_id)
            if board is None:
                continue
            run = _told(board.run, board, time.time())
            if self.shown.get(run_id) != run:
                self._send(run_id, run)
                self.shown[run_id] = run

    def state(self) -> str:
        self.sent = max(self.sent, int(time.time() * 1000) * 1000)
        return messages.encode("state", self.sent, None, runs=list(self.shown.values()))

    def _send(self, run_id: str, run: Any) -> None:
        self.sent = max(self.sent + 1, int(time.time() * 1000) * 1000)
        if self.members:
            text = messages.encode("run", self.sent, run_id, run=run)
            for outbox in self.members:
                outbox.put(text)


def _told(run: Run, board: Board | None, now: float) -> Any:
    # A copy: the room's board still has to learn, and to tell, that its row changed.
    return runs.run_dict(run, draw(replace(board, run=run) if board else Board(run), now))
