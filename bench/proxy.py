"""A distant server: `python -m bench.proxy HOST PORT SECONDS`, forwards to it so much later.

Listens on a port of its own on loopback, which it prints. What comes is passed on in order,
each piece `SECONDS` after it came, in both directions; a connection opens one round trip late.
At the end of its standard input it prints JSON and goes: connections, round trips (how often a
client sent something after an answer), bytes each way.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass

CHUNK = 2**18
# Pieces under way in one direction; more have to wait, as in a full window.
UNDER_WAY = 256


@dataclass
class Seen:
    connections: int = 0
    round_trips: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0


@dataclass
class Link:
    """One connection; `answered` until the client speaks again."""

    seen: Seen
    answered: bool = True

    def to_server(self, size: int) -> None:
        self.seen.round_trips += self.answered
        self.answered = False
        self.seen.bytes_to_server += size

    def to_client(self, size: int) -> None:
        self.answered = True
        self.seen.bytes_to_client += size


class Proxy:
    def __init__(self, host: str, port: int, delay: float) -> None:
        self.host, self.port, self.delay = host, port, delay
        self.seen = Seen()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.connections += 1
        link = Link(self.seen)
        await asyncio.sleep(2 * self.delay)
        try:
            server_reader, server_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self._one_way(reader, server_writer, link.to_server),
            self._one_way(server_reader, writer, link.to_client),
        )
        for one in (server_writer, writer):
            one.close()

    async def _one_way(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        count: Callable[[int], None],
    ) -> None:
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(UNDER_WAY)
        passing = asyncio.create_task(self._pass_on(under_way, writer))
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            if data:
                count(len(data))
            await under_way.put((asyncio.get_running_loop().time() + self.delay, data))
        await passing

    async def _pass_on(
        self, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        """Each piece when it is due; the empty one is the end."""
        loop = asyncio.get_running_loop()
        while True:
            due, data = await under_way.get()
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            if not data:
                break
            # Whoever has gone is noticed by the other direction.
            with suppress(OSError):
                writer.write(data)
                await writer.drain()
        # Only this direction: the answer may still be under way.
        with suppress(OSError):
            writer.write_eof()


async def serve(host: str, port: int, delay: float) -> None:
    proxy = Proxy(host, port, delay)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()
    print(json.dumps(asdict(proxy.seen)))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
