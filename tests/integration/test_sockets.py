"""The sockets as a client meets them: a real web server, a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dashboard import tokens
from dashboard.models import Run
from dashboard.runs import run_dict
from tests.live_cast import (
    NOWHERE,
    Publisher,
    Screen,
    a_run,
    end,
    point_at,
    session_cookie,
    until,
    web_server,
)

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

ORIGIN = "http://127.0.0.1:8000"


@pytest.fixture
def live(settings, monkeypatch, redis, tmp_path) -> Iterator[str]:
    point_at(settings, monkeypatch, redis=redis, storage=tmp_path, temporal=NOWHERE)
    settings.ORIGINS = [ORIGIN]
    with web_server() as address:
        yield address


@pytest.fixture
def run(db) -> Run:
    return a_run()


@pytest.fixture
def publisher(redis, run) -> Publisher:
    return Publisher(redis, str(run.pk))


def socket(address: str, path: str, cookie: str = "", **options: Any) -> Any:
    headers = options.pop("additional_headers", {}) | ({"Cookie": cookie} if cookie else {})
    options.setdefault("origin", ORIGIN)
    return connect(f"ws://{address}{path}", additional_headers=headers, proxy=None, **options)


async def refusal(address: str, path: str, cookie: str = "", **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with socket(address, path, cookie, **options):
            pass
    return refused.value.response.status_code


async def first(address: str, path: str, cookie: str = "", **options: Any) -> dict[str, Any]:
    async with socket(address, path, cookie, **options) as ws:
        message: dict[str, Any] = json.loads(await ws.recv())
        return message


async def in_thread(function: Any, *args: Any, **kwargs: Any) -> Any:
    return await sync_to_async(function, thread_sensitive=False)(*args, **kwargs)


@pytest.mark.parametrize("path", ["/ws/runs/{run}/", "/ws/runs/"])
async def test_refusals(live, run, viewer, outsider, path):
    path = path.format(run=run.pk)
    cookie = await in_thread(session_cookie, viewer)
    token = await in_thread(tokens.create, viewer, "laptop", viewer)
    bearer = {"Authorization": f"Bearer {token}"}

    assert await refusal(live, path) == 401
    assert await refusal(live, path, await in_thread(session_cookie, outsider)) == 403
    assert await refusal(live, path, cookie, origin="http://evil.example") == 403
    assert await refusal(live, path, cookie, origin="https://127.0.0.1:8000") == 403
    assert await refusal(live, path, cookie, origin="http://127.0.0.1:8001") == 403
    assert await refusal(live, path, cookie, origin=None) == 403
    assert await refusal(live, path, cookie, origin="null") == 403
    assert await refusal(live, f"{path}?token={token}", cookie) == 400
    assert await refusal(live, f"{path}?after={token}", origin=None) == 400
    wrong = {"Authorization": "Bearer svy_wrong"}
    assert await refusal(live, path, origin=None, additional_headers=wrong) == 401
    foreign = {"additional_headers": bearer, "origin": "http://evil.example"}
    assert await refusal(live, path, **foreign) == 403


async def test_unknown_runs_and_paths(live, viewer):
    cookie = await in_thread(session_cookie, viewer)
    nobody = "00000000-0000-0000-0000-000000000000"
    assert await refusal(live, f"/ws/runs/{nobody}/", cookie) == 404
    assert await refusal(live, "/ws/runs/one/", cookie) == 404
    assert await refusal(live, "/ws/", cookie) == 404
    assert await refusal(live, f"/ws/runs/{nobody}/") == 401


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
async def test_every_role_may_watch(live, run, role, request):
    user = await in_thread(request.getfixturevalue, role)
    cookie = await in_thread(session_cookie, user)
    assert (await first(live, f"/ws/runs/{run.pk}/", cookie))["type"] == "state"
    assert (await first(live, "/ws/runs/", cookie))["runs"][0]["id"] == str(run.pk)


async def test_bearer_as_header_and_as_subprotocol(live, run, viewer):
    token = await in_thread(tokens.create, viewer, "laptop", viewer)
    header = {"Authorization": f"Bearer {token}"}
    path = f"/ws/runs/{run.pk}/"
    state = await first(live, path, origin=None, additional_headers=header)
    assert state["run"]["id"] == str(run.pk)
    async with socket(live, path, origin=None, subprotocols=[f"bearer.{token}"]) as ws:
        assert ws.subprotocol == f"bearer.{token}"
        assert json.loads(await ws.recv())["type"] == "state"


async def test_an_open_run_told_live_until_it_is_finished(live, run, publisher, viewer):
    cookie = await in_thread(session_cookie, viewer)
    screen = Screen()
    async with socket(live, f"/ws/runs/{run.pk}/", cookie) as ws:
        watching = asyncio.create_task(_watch(ws, screen))
        await until(lambda: screen.types == ["state"])
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 0, done=50, in_flight=25)
        await in_thread(publisher.event, "Shard 0 is half way", shard=0)
        await until(lambda: screen.progress["done"] == 50 and bool(screen.events))
        assert screen.progress["total"] == 300
        assert screen.shards[0]["label"] == "schema 0"
        assert screen.shards[0]["in_flight"] == 25
        assert list(screen.shards) == [0, 1, 2]
        await in_thread(end, run, counts={"relations": 300})
        await in_thread(publisher.lifecycle, "succeeded")
        code = await asyncio.wait_for(watching, 10)
    assert code == 1000
    assert screen.types[-2:] == ["state", "finished"]
    ended = await in_thread(Run.objects.get, pk=run.pk)
    assert screen.finished == await in_thread(run_dict, ended)
    assert screen.finished["status"] == "succeeded"
    assert screen.seqs == sorted(set(screen.seqs))


async def test_who_joins_an_ended_run_gets_the_same_end(live, run, publisher, viewer):
    cookie = await in_thread(session_cookie, viewer)
    early, late = Screen(), Screen()
    async with socket(live, f"/ws/runs/{run.pk}/", cookie) as ws:
        watching = asyncio.create_task(_watch(ws, early))
        await until(lambda: bool(early.types))
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 0, done=75)
        await until(lambda: early.progress["done"] == 75)
        final = {"done": 75, "total": 300, "phase": "extract"}
        await in_thread(end, run, "cancelled", final=final, cancel_requested_by="ops")
        await asyncio.wait_for(watching, 10)
    async with socket(live, f"/ws/runs/{run.pk}/", cookie) as ws:
        assert await _watch(ws, late) == 1000
    assert late.types == ["state", "finished"]
    assert late.finished == early.finished
    assert late.picture() == early.picture()
    assert late.finished["verdict"] == "finished: cancelled by ops"


async def test_large_and_many_frames_close_the_socket(live, run, viewer):
    cookie = await in_thread(session_cookie, viewer)
    path = f"/ws/runs/{run.pk}/"
    async with socket(live, path, cookie) as ws:
        await ws.send("nobody understands this")
        await ws.send("x" * 5000)
        assert await _watch(ws, Screen()) == 1009
    async with socket(live, path, cookie) as ws:
        for _ in range(100):
            await ws.send("again")
        assert await _watch(ws, Screen()) == 1008


async def test_a_ping_is_answered(live, run, viewer):
    cookie = await in_thread(session_cookie, viewer)
    async with socket(live, f"/ws/runs/{run.pk}/", cookie) as ws:
        await ws.recv()
        await ws.send('{"type":"ping"}')
        assert json.loads(await ws.recv()) == {"type": "pong"}


async def test_all_runs_stay_current(live, redis, run, publisher, viewer):
    cookie = await in_thread(session_cookie, viewer)
    told: dict[str, Any] = {}
    async with socket(live, "/ws/runs/", cookie) as ws:
        state = json.loads(await ws.recv())
        assert [(r["id"], r["status"]) for r in state["runs"]] == [(str(run.pk), "running")]

        async def listen() -> None:
            async for text in ws:
                message = json.loads(text)
                told[message["run_id"]] = message["run"]

        listening = asyncio.create_task(listen())
        await in_thread(publisher.plan)
        await in_thread(publisher.beat, 0, done=30)
        await until(lambda: told.get(str(run.pk), {}).get("progress", {}).get("done") == 30)
        other = await in_thread(a_run, "queued")
        await in_thread(Publisher(redis, str(other.pk)).lifecycle, "queued")
        await until(lambda: str(other.pk) in told)
        await in_thread(end, run)
        await until(lambda: told[str(run.pk)]["status"] == "succeeded")
        listening.cancel()


async def _watch(ws: Any, screen: Screen) -> int:
    """Show everything until the server closes; its code."""
    try:
        async for text in ws:
            screen.show(text)
    except ConnectionClosed:
        pass
    code: int = ws.close_code
    return code
