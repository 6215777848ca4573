"""One watched run: its board, and the sockets that see it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from dashboard.live import messages
from dashboard.live.board import Board, line_of
from dashboard.live.outbox import Outbox
from dashboard.live.picture import Picture, Shard, draw
from dashboard.models import Run
from workers.contract import Frame

MERGE_SECONDS = 0.1
_AGES = {"beat_age_ms", "advance_age_ms"}


class Room:
    """Frames in, messages out, at most ten progress messages a second.

    `sent` is the seq of the newest message: every message gets a higher one, so that a
    socket which got a whole state never sees anything that state already holds.
    """

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.board: Board | None = None
        self.members: set[Outbox] = set()
        self.joining = 0
        self.early: list[tuple[int, Frame]] = []
        self.sent = 0
        self.shown: dict[int, dict[str, Any]] = {}
        self.totals: dict[str, Any] = {}
        self.flushed_at = 0.0
        self.timer: asyncio.TimerHandle | None = None

    def open(self, board: Board) -> None:
        """Begin with a board, and catch up with what was published while it was read."""
        if self.board is not None:
            board.merge(self.board)
        self.board = board
        early, self.early = self.early, []
        for seq, frame in early:
            board.apply(seq, frame)

    def renew(self, board: Board) -> None:
        """Another reading of the run. Lines that no frame brought are told by a whole state."""
        known = {line["seq"] for line in self.board.events} if self.board else set()
        self.open(board)
        if any(line["seq"] not in known for line in board.events):
            self.broadcast_state()
        else:
            self.flush()

    def apply(self, seq: int, frame: Frame) -> None:
        if self.board is None:
            self.early.append((seq, frame))
            return
        if not self.board.apply(seq, frame):
            return
        self.board.source = "live"
        if frame.event is not None:
            self.sent = max(seq, self.sent + 1)
            line = line_of(seq, frame.event)
            self._to_all(messages.event(self.run_id, self.sent, line))
        if frame.records or frame.plan is not None:
            self._schedule()

    def _schedule(self) -> None:
        if self.members and self.timer is None:
            wait = max(0.0, self.flushed_at + MERGE_SECONDS - time.monotonic())
            self.timer = asyncio.get_running_loop().call_later(wait, self.flush)

    def flush(self) -> None:
        """Send what changed since the last progress message, if anything did."""
        self._cancel_timer()
        if self.board is None:
            return
        picture = draw(self.board, time.time())
        changed = self._changed(picture)
        totals = _still(picture)
        if changed or totals != self.totals:
            self.sent = max(self.board.seq, self.sent + 1)
            if self.members:
                self._to_all(messages.progress(self.run_id, picture, self.sent, changed))
        self._remember(picture)
        self.flushed_at = time.monotonic()

    def _changed(self, picture: Picture) -> list[Shard]:
        assert self.board is not None
        return [
            shard
            for shard in picture.shards
            if shard["id"] in self.board.touched or _ageless(shard) != self.shown.get(shard["id"])
        ]

    def _remember(self, picture: Picture) -> None:
        assert self.board is not None
        self.shown = {shard["id"]: _ageless(shard) for shard in picture.shards}
        self.totals = _still(picture)
        self.board.touched.clear()

    def state(self, after: int = 0) -> str:
        """The whole picture, as of now; later messages have a higher seq."""
        assert self.board is not None
        picture = draw(self.board, time.time())
        self.sent = max(picture.seq, self.sent)
        return messages.state(self.board.run, picture, self.sent, after)

    def broadcast_state(self) -> None:
        """For what deltas cannot say: another status, another board."""
        assert self.board is not None
        self.sent += 1
        self._to_all(self.state())
        self._remember(draw(self.board, time.time()))

    def end(self, run: Run, ended: Picture) -> None:
        """The last words: what a latecomer to the ended run gets, then close."""
        self._cancel_timer()
        self.sent = max(self.sent + 1, ended.seq)
        last = [
            messages.state(run, ended, self.sent),
            messages.finished(run, ended, self.sent + 1),
        ]
        for outbox in self.members:
            outbox.finish(last)

    def close(self, code: int) -> None:
        self._cancel_timer()
        for outbox in self.members:
            outbox.close(code)

    def _cancel_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def _to_all(self, text: str) -> None:
        for outbox in self.members:
            outbox.put(text)


def _ageless(shard: Shard) -> dict[str, Any]:
    return {name: value for name, value in shard.items() if name not in _AGES}


def _still(picture: Picture) -> dict[str, Any]:
    """What of the totals changes by something happening, not by time passing."""
    totals: dict[str, Any] = {**picture.progress, "eta_seconds": None}
    return totals | {
        "verdict": str(picture.verdict),
        "phase": picture.phase,
        "source": picture.source,
        "workers": picture.workers,
    }
