"""The two sockets: one run, and all runs. Nothing here asks the database per message."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

import structlog
from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from dashboard.live import admission, messages, sources
from dashboard.live.admission import Ticket
from dashboard.live.listener import listener
from dashboard.live.outbox import Outbox
from dashboard.live.picture import draw
from dashboard.live.threads import in_thread
from dashboard.models import Run

FRAME_BYTES = 4096
PING, PONG = '{"type":"ping"}', '{"type":"pong"}'
FRAMES_A_MINUTE = 60
TOO_BIG, FLOOD, FAILED = 1009, 1008, 1011

log = structlog.get_logger(__name__)


class LiveSocket(AsyncWebsocketConsumer):
    """Sends what its outbox holds; a subclass fills it."""

    # No channel layer: a socket must open while Redis is down. Control comes by the listener.
    channel_layer_alias = "none"
    outbox: Outbox | None = None
    pump: asyncio.Task[None] | None = None
    heard = 0
    heard_since = 0.0

    @property
    def ticket(self) -> Ticket:
        ticket: Ticket = self.scope["ticket"]
        return ticket

    async def accept_ticket(self) -> None:
        await self.accept(subprotocol=self.ticket.subprotocol)

    def serve(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self.pump = asyncio.create_task(self._pump(outbox))

    async def _pump(self, outbox: Outbox) -> None:
        try:
            while True:
                texts, code = await outbox.take()
                for text in texts:
                    await self.send(text_data=text)
                if code is not None:
                    await self.close(code)
                    return
        except (OSError, RuntimeError):
            # The client is gone; the server tells the consumer by a disconnect.
            return

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        size = len(bytes_data or b"") + len((text_data or "").encode())
        if size > FRAME_BYTES:
            await self.close(TOO_BIG)
        elif self._flooded():
            await self.close(FLOOD)
        elif text_data == PING:
            # How a browser tells a silent road from a dead one. Tells nothing, so has no seq.
            await self.send(text_data=PONG)

    def _flooded(self) -> bool:
        now = time.monotonic()
        if now - self.heard_since > 60:
            self.heard, self.heard_since = 0, now
        self.heard += 1
        return self.heard > FRAMES_A_MINUTE

    async def disconnect(self, code: int) -> None:
        if self.pump is not None:
            self.pump.cancel()
            with suppress(asyncio.CancelledError):
                await self.pump
        self.leave()

    def leave(self) -> None:
        raise NotImplementedError


class RunSocket(LiveSocket):
    run_id = ""

    async def connect(self) -> None:
        self.run_id = str(self.scope["url_route"]["kwargs"]["run_id"])
        run = await in_thread(Run.objects.filter(pk=self.run_id).first)
        if run is None:
            await admission.deny(self.scope, self.base_send, 404)
            raise StopConsumer
        await self.accept_ticket()
        after = after_of(self.scope)
        if run.is_open:
            self.serve(await listener().join(self.run_id, self.ticket, after))
        else:
            await self._retell(run, after)

    async def _retell(self, run: Run, after: int) -> None:
        """An ended run: its last picture, and that is all."""
        picture = draw(await in_thread(sources.board_of, run), time.time())
        seq = max(picture.seq, after + 1)
        await self.send(text_data=messages.state(run, picture, seq, after))
        await self.send(text_data=messages.finished(run, picture, seq + 1))
        await self.close(1000)

    def leave(self) -> None:
        if self.outbox is not None:
            listener().leave(self.run_id, self.outbox)


class RunsSocket(LiveSocket):
    async def connect(self) -> None:
        await self.accept_ticket()
        self.serve(await listener().join_lobby(self.ticket))

    def leave(self) -> None:
        if self.outbox is not None:
            listener().leave_lobby(self.outbox)


async def nowhere(scope: Any, receive: Any, send: Any) -> None:
    """Any other path."""
    await receive()
    await admission.deny(scope, send, 404)


def after_of(scope: Any) -> int:
    """`?after=SEQ`; nonsense counts as nothing."""
    value = parse_qs(scope["query_string"].decode("latin-1")).get("after", ["0"])[0]
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else 0
