"""One reader of the progress stream per web process, and the rooms it feeds.

Starts with the first socket, ends with the last. Three roads lead into a room: frames from
the stream; every two seconds the rows of all watched runs, in one query; and, while nobody's
beat is heard, heartbeats and storage. So a socket is right even without Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from weakref import WeakKeyDictionary

import redis.asyncio as redis_async
import structlog
from django.conf import settings
from redis.exceptions import RedisError

from dashboard.live import admission, sources
from dashboard.live.admission import Ticket
from dashboard.live.board import Board
from dashboard.live.lobby import Lobby
from dashboard.live.outbox import Outbox
from dashboard.live.picture import draw
from dashboard.live.room import Room
from dashboard.live.threads import in_thread
from dashboard.models import Run
from workers.contract import Frame
from workers.progress import StreamRestarted, follow, open_redis, read_cut

POLL_SECONDS = 2.0
# Between two reads of the rows, however many lifecycle frames ask for one.
POLL_AT_MOST = 0.1
ADMISSION_SECONDS = 10.0
NOBODY = "-"

log = structlog.get_logger(__name__)


class Listener:
    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self.lobby = Lobby()
        self.tasks: list[asyncio.Task[None]] = []
        self.opening: dict[str, asyncio.Task[None]] = {}
        self.wake = asyncio.Event()
        self.started = asyncio.Event()

    # --- sockets come and go ---

    async def join(self, run_id: str, ticket: Ticket, after: int) -> Outbox:
        """Watch a run. The first text is its whole state."""
        room = self._entered(run_id)
        try:
            await self._opened(run_id)
            outbox = Outbox(ticket, room.state)
            outbox.put(room.state(after))
            room.members.add(outbox)
        except BaseException:
            room.joining -= 1
            self._sweep()
            raise
        room.joining -= 1
        if room.board is not None and not room.board.run.is_open:
            self.wake.set()
        return outbox

    def leave(self, run_id: str, outbox: Outbox) -> None:
        room = self.rooms.get(run_id)
        if room is not None:
            room.members.discard(outbox)
        self._sweep()

    async def join_lobby(self, ticket: Ticket) -> Outbox:
        self._start()
        self.lobby.joining += 1
        try:
            if not self.lobby.members:
                await self._refresh_lobby()
            outbox = Outbox(ticket, self.lobby.state)
            outbox.put(self.lobby.state())
            self.lobby.members.add(outbox)
        finally:
            self.lobby.joining -= 1
            self._sweep()
        return outbox

    def leave_lobby(self, outbox: Outbox) -> None:
        self.lobby.members.discard(outbox)
        self._sweep()

    # --- life ---

    def _start(self) -> None:
        if not self.tasks:
            self.started.clear()
            jobs = (self._follow, self._poll, self._admission, self._pace_lobby)
            self.tasks = [asyncio.create_task(_kept_alive(job)) for job in jobs]

    def _sweep(self) -> None:
        """Forget rooms nobody watches, and stop when none is left."""
        listed = self.lobby.members or self.lobby.joining
        if not listed:
            self.lobby.clear()
        for run_id, room in list(self.rooms.items()):
            held = room.members or room.joining or run_id in self.lobby.open_runs
            if not held:
                room.close(1000)
                del self.rooms[run_id]
        if not self.rooms and not listed:
            for task in self.tasks:
                task.cancel()
            self.tasks = []

    def _entered(self, run_id: str) -> Room:
        """The room, held open for whoever is about to join it."""
        self._start()
        if run_id not in self.rooms:
            self.rooms[run_id] = Room(run_id)
            self.opening[run_id] = asyncio.create_task(self._open(run_id))
        room = self.rooms[run_id]
        room.joining += 1
        return room

    async def _opened(self, run_id: str) -> None:
        if run_id in self.opening:
            await asyncio.shield(self.opening[run_id])

    async def _open(self, run_id: str) -> None:
        try:
            # The stream's end is known first: no frame can fall between it and the board.
            await self.started.wait()
            self.rooms[run_id].open(await in_thread(_board_of, run_id))
        except BaseException:
            self.rooms.pop(run_id, None)
            raise
        finally:
            self.opening.pop(run_id, None)

    # --- the stream ---

    async def _follow(self) -> None:
        redis = open_redis(settings.ENV.redis_url.get_secret_value())
        try:
            while True:
                after = await self._tail(redis)
                sources.redis_answers()
                await self._rebuild()
                try:
                    async for seq, frame in follow(redis, after):
                        self._apply(seq, frame)
                except StreamRestarted:
                    log.warning("stream restarted, every picture is built again")
        finally:
            await redis.aclose()

    async def _tail(self, redis: redis_async.Redis) -> int:
        """The seq to follow from; waits for Redis, but lets the rooms open meanwhile."""
        told = False
        while True:
            try:
                return (await read_cut(redis, NOBODY)).seq
            except (RedisError, OSError) as error:
                if not told:
                    log.warning("no live progress, Redis is down", error=type(error).__name__)
                told = True
            finally:
                self.started.set()
            await asyncio.sleep(POLL_SECONDS / 4)

    def _apply(self, seq: int, frame: Frame) -> None:
        room = self.rooms.get(frame.run_id)
        if room is not None:
            room.apply(seq, frame)
            self.lobby.touch(frame.run_id)
        if frame.kind == "lifecycle" and (room is not None or self.lobby.members):
            self.wake.set()

    async def _rebuild(self) -> None:
        for run_id, room in list(self.rooms.items()):
            if room.board is not None:
                with _guarded(run_id):
                    room.open(await in_thread(_board_of, run_id))
                    room.broadcast_state()

    # --- rows ---

    async def _poll(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wake.wait(), POLL_SECONDS)
            self.wake.clear()
            await self._read_rows()
            await asyncio.sleep(POLL_AT_MOST)

    async def _read_rows(self) -> None:
        watched = [run_id for run_id, room in self.rooms.items() if room.board is not None]
        rows = await in_thread(_rows, watched) if watched else {}
        for run_id in watched:
            room, row = self.rooms.get(run_id), rows.get(run_id)
            if room is not None and room.board is not None:
                with _guarded(run_id):
                    await self._check(room, room.board, row)
        if self.lobby.members:
            await self._refresh_lobby()

    async def _check(self, room: Room, board: Board, row: Run | None) -> None:
        if row is None:
            room.close(4404)
        elif not row.is_open:
            ended = await in_thread(sources.board_of, row)
            room.end(row, draw(ended, time.time()))
            self.rooms.pop(room.run_id, None)
        elif _differs(row, board.run):
            board.run = row
            room.broadcast_state()
        elif board.source != "live" or sources.silent(board, time.time()):
            room.renew(await in_thread(sources.board_of, row))
        else:
            room.flush()

    # --- all runs ---

    async def _refresh_lobby(self) -> None:
        rows = await in_thread(_newest_rows)
        wanted = [str(run.id) for run in rows if run.is_open]
        entered = [self._entered(run_id) for run_id in wanted if run_id not in self.rooms]
        try:
            for room in entered:
                with _guarded(room.run_id):
                    await self._opened(room.run_id)
            self.lobby.show(rows, {run_id: room.board for run_id, room in self.rooms.items()})
        finally:
            for room in entered:
                room.joining -= 1

    async def _pace_lobby(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            if self.lobby.members:
                self.lobby.flush({run_id: room.board for run_id, room in self.rooms.items()})

    # --- who may stay ---

    async def _admission(self) -> None:
        while True:
            await asyncio.sleep(ADMISSION_SECONDS)
            outboxes = [o for room in self.rooms.values() for o in room.members]
            outboxes += self.lobby.members
            ended = await in_thread(admission.expired, {o.ticket for o in outboxes})
            for outbox in outboxes:
                if outbox.ticket in ended:
                    outbox.close(ended[outbox.ticket])


@contextlib.contextmanager
def _guarded(run_id: str) -> Iterator[None]:
    """What one run's reading fails by may not keep the others waiting."""
    try:
        yield
    except Exception:
        log.exception("run not read", run=run_id)


async def _kept_alive(job: Callable[[], object]) -> None:
    """A failure of the app database or a bug may not end live updates for good."""
    while True:
        try:
            await job()  # type: ignore[misc]
        except Exception:
            log.exception("listener job failed, it starts again")
            await asyncio.sleep(1)


def _board_of(run_id: str) -> Board:
    return sources.board_of(Run.objects.get(pk=run_id))


def _rows(run_ids: list[str]) -> dict[str, Run]:
    return {str(pk): run for pk, run in Run.objects.in_bulk(map(uuid.UUID, run_ids)).items()}


def _newest_rows() -> list[Run]:
    newest = list(Run.objects.order_by("-created_at", "-id")[: Lobby.SHOWN])
    known = {run.pk for run in newest}
    return newest + [r for r in Run.objects.filter(status__in=Run.OPEN) if r.pk not in known]


_SEEN = ("status", "waiting_reason", "cancel_requested_by", "started_at", "counts", "completeness")


def _differs(one: Run, other: Run) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in _SEEN)


_listeners: WeakKeyDictionary[asyncio.AbstractEventLoop, Listener] = WeakKeyDictionary()


def listener() -> Listener:
    """The one of this process (of this loop: tests have several)."""
    loop = asyncio.get_running_loop()
    if loop not in _listeners:
        _listeners[loop] = Listener()
    return _listeners[loop]
