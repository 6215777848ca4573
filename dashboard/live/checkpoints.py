"""What storage proves about an open run, for when Redis has lost its memory."""

from __future__ import annotations

from dashboard.live.board import Board


def read_into(board: Board) -> None:
    """Raise each shard's floor to what its ledger entries prove."""
