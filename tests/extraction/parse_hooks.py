"""What a child process may be told to do instead of parsing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from extraction.parsers import Reference, Unreadable


def obey(text: str, dialect: str, schema: str) -> list[Reference]:
    """The text is an order and its argument."""
    order, _, argument = text.partition(" ")
    if order == "hang":
        while True:
            pass
    if order == "sleep":
        time.sleep(60)
    if order == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    if order == "exit":
        os._exit(int(argument))
    if order == "exit-once" and not (seen := Path(argument)).exists():
        seen.touch()
        os._exit(1)
    if order == "eat":
        return [(schema, str(len(b"x" * 2**32)), None)]
    if order == "nest":
        return obey(text, dialect, schema)
    if order == "raise":
        raise KeyError(argument)
    if order == "refuse":
        raise Unreadable(argument)
    if order == "pid":
        return [(schema, str(os.getpid()), None)]
    return [(schema, text, dialect)]
