"""What a child process may be told to do instead of parsing."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from extraction.parsers import Reference, Unreadable
from extraction.view_text import references


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


def poisoned(text: str, dialect: str, schema: str) -> list[Reference]:
    """Two of the views do not go well."""
    if "JOIN sales.customers c ON ((o.customer = c.id))" in text:
        return obey("hang", dialect, schema)
    if "FROM hr.people" in text and "UNION" not in text and "max" not in text:
        return obey("exit 1", dialect, schema)
    return references(text, dialect, schema)


def slow(text: str, dialect: str, schema: str) -> list[Reference]:
    """The first is read, the next one takes for ever."""
    return references(text, dialect, schema) if "people" in text else obey("hang", dialect, schema)
