"""What works beside the thread that builds the rows of a batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Self

from extraction.parsers import Parsers


class Threads:
    """One that waits for the source and one that writes, beside the one that builds; and
    processes that parse, of which all shards of a worker share the same."""

    def __init__(self, parsers: Parsers | None = None) -> None:
        self.receiving = ThreadPoolExecutor(1, "receiving")
        self.writing = ThreadPoolExecutor(1, "writing")
        self.parsers = parsers or Parsers()
        self._own = parsers is None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.receiving.shutdown()
        self.writing.shutdown()
        if self._own:
            self.parsers.close()
