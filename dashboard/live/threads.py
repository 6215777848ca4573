from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from channels.db import database_sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Blocking work on any thread, its database connections closed afterwards."""
    wrapped = database_sync_to_async(function, thread_sensitive=False)
    result: T = await wrapped(*args, **kwargs)
    return result
