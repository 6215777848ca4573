"""A distant server: all bytes in order, none before its time, every wait of the client counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.proxy import Proxy, Seen

DELAY = 0.02


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def distant(delay: float = DELAY) -> AsyncIterator[tuple[Proxy, int]]:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy("127.0.0.1", server.sockets[0].getsockname()[1], delay)
    front = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    async with server, front:
        yield proxy, front.sockets[0].getsockname()[1]


async def test_counts_what_waits_for_an_answer():
    async with distant() as (proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(b"asked")
            await reader.readexactly(5)
        writer.close()
    assert proxy.seen == Seen(1, 3, 15, 15)


async def test_what_is_sent_before_the_answer_is_one_round_trip():
    async with distant() as (proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"one")
        await writer.drain()
        writer.write(b"two")
        await reader.readexactly(6)
        writer.close()
    assert proxy.seen.round_trips == 1


async def test_nothing_comes_before_its_time():
    loop = asyncio.get_running_loop()
    async with distant() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        began = loop.time()
        for answers in range(1, 4):
            writer.write(b"x")
            await reader.readexactly(1)
            # One round trip more: the opening of the connection.
            assert loop.time() - began >= 2 * DELAY * (answers + 1)
        writer.close()


async def test_passes_on_every_byte_in_order():
    sent = bytes(range(256)) * 2**14
    async with distant(0.001) as (proxy, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        writer.write_eof()
        assert await reader.read(-1) == sent
        writer.close()
    assert (proxy.seen.bytes_to_server, proxy.seen.bytes_to_client) == (len(sent), len(sent))


async def test_a_server_that_is_not_there_ends_the_connection():
    async with distant() as (proxy, port):
        proxy.port = 1
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read(-1) == b""
        writer.close()
