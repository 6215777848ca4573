"""What the script of the pages does when the road is bad: a real server, a real Redis, Chromium."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect

from dashboard.live import listener as listening
from dashboard.models import Connection, Run, RunEvent
from tests.e2e.browser import Complaints, chromium
from tests.live_cast import NOWHERE, Publisher, a_run, end, point_at, session_cookie, web_server

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.django_db(transaction=True),
]

BADGE = "[data-live-badge]"
# A socket whose handshake never ends.
STUCK = """
class Stuck {
  static CONNECTING = 0; static OPEN = 1; static CLOSING = 2; static CLOSED = 3;
  static made = 0;
  readyState = 0;
  constructor() { Stuck.made += 1; }
  send() {}
  close() { this.readyState = 3; }
}
window.WebSocket = Stuck;
"""


@pytest.fixture(scope="module", autouse=True)
def _orm_beside_playwright() -> Iterator[None]:
    """Playwright keeps a loop running in this thread; Django would refuse its ORM there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        yield


@pytest.fixture(scope="module")
def browser(_orm_beside_playwright: None) -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def address(
    db: None, settings: Any, monkeypatch: pytest.MonkeyPatch, redis: str, tmp_path: Path
) -> Iterator[str]:
    point_at(settings, monkeypatch, redis=redis, storage=tmp_path, temporal=NOWHERE)
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.2)
    with web_server() as found:
        settings.ORIGINS = [f"http://{found}"]
        yield f"http://{found}"


@pytest.fixture
def page(browser: Browser, address: str, operator: Any) -> Iterator[Page]:
    name, _, value = session_cookie(operator).partition("=")
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.add_cookies([{"name": name, "value": value, "url": address}])
    page = context.new_page()
    page.set_default_timeout(10_000)
    yield page
    context.close()


@pytest.fixture
def complaints(page: Page) -> Iterator[None]:
    watched = Complaints()
    watched.watch(page)
    yield
    assert watched.lines == []


@pytest.fixture
def run(address: str) -> Run:
    return a_run()


@pytest.fixture
def publisher(redis: str, run: Run) -> Publisher:
    return Publisher(redis, str(run.pk))


def until(page: Page, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)


def story(page: Page) -> list[str]:
    return page.locator("[data-story] li p").all_inner_texts()


def test_what_came_while_a_fragment_was_fetched_is_on_the_page(
    address: str, page: Page, run: Run, publisher: Publisher, complaints: None
) -> None:
    publisher.beat(-1, phase="plan")
    page.goto(f"{address}/runs/{run.pk}/")
    expect(page.locator(BADGE)).to_contain_text("Live")
    held: list[tuple[Route, Any]] = []
    page.route("**/fragment/", lambda route: held.append((route, route.fetch())))
    publisher.plan()
    publisher.beat(0, done=10)
    until(page, lambda: held)
    (route, answer), body = held[0], held[0][1].text()
    assert "data-shard=" in body
    publisher.event("while it was under way")
    publisher.beat(0, done=40)
    done = page.locator("surveyor-run .of [data-f=done]")
    expect(done).to_have_text("40")
    expect(page.locator("[data-story] li")).to_have_count(1)
    route.fulfill(response=answer)
    expect(page.locator("tr[data-shard]")).to_have_count(3)
    expect(page.locator("tr[data-shard='0'] [data-f=done]")).to_have_text("40")
    expect(done).to_have_text("40")
    assert story(page) == ["while it was under way"]
    page.unroute_all(behavior="ignoreErrors")
    publisher.event("later")
    until(page, lambda: story(page) == ["later", "while it was under way"])


def test_a_line_that_comes_late_is_put_in_its_place(
    address: str, page: Page, run: Run, publisher: Publisher, complaints: None
) -> None:
    page.goto(f"{address}/runs/{run.pk}/")
    expect(page.locator(BADGE)).to_contain_text("Live")
    earlier = datetime.now(UTC)
    until(page, lambda: datetime.now(UTC) > earlier + timedelta(milliseconds=5))
    publisher.event("second")
    until(page, lambda: story(page) == ["second"])
    RunEvent.objects.create(
        run=run,
        seq=int(earlier.timestamp() * 1000) * 1000,
        at=earlier,
        level="info",
        message="first",
    )
    until(page, lambda: story(page) == ["second", "first"])


def test_lines_stand_by_their_time_whatever_order_they_come_in(
    address: str, page: Page, run: Run, publisher: Publisher, complaints: None
) -> None:
    page.goto(f"{address}/runs/{run.pk}/")
    expect(page.locator(BADGE)).to_contain_text("Live")
    now = time.time()
    for message, at in (("second", now), ("first", now - 1), ("third", now)):
        publisher.event(message, at=at)
    order = ["third", "second", "first"]
    until(page, lambda: story(page) == order)
    page.reload()
    assert story(page) == order


def test_polling_begins_while_the_handshake_hangs_and_ends_with_the_run(
    address: str, page: Page, run: Run, publisher: Publisher
) -> None:
    page.add_init_script(STUCK)
    page.goto(f"{address}/runs/{run.pk}/")
    page.get_by_role("link", name="Cancel…").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    publisher.plan()
    publisher.beat(0, done=40)
    done = page.locator("surveyor-run .of [data-f=done]")
    expect(done).to_have_text("40", timeout=7_000)
    expect(page.locator(BADGE)).to_contain_text("Every 2 s")
    until(page, lambda: page.evaluate("WebSocket.made") >= 2)
    end(run, final={"done": 300, "total": 300})
    expect(page.locator(BADGE)).to_contain_text("Ended")
    expect(page.get_by_role("dialog")).to_be_hidden()
    status = page.locator("surveyor-run .state-line [data-f=status]")
    expect(status).to_have_text("Succeeded")


def test_a_socket_that_went_deaf_is_left_within_fourteen_seconds(
    address: str, page: Page, run: Run, publisher: Publisher
) -> None:
    sockets: list[WebSocketRoute] = []
    pongs: list[object] = []
    deaf = False

    def connect(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        server = socket.connect_to_server()
        mine = len(sockets)

        def pass_on(text: str | bytes) -> None:
            if not (deaf and mine == 1):
                socket.send(text)
                pongs.extend([text] if "pong" in str(text) else [])

        server.on_message(pass_on)

    page.clock.install()
    page.route_web_socket(re.compile("/ws/"), connect)
    page.goto(f"{address}/runs/{run.pk}/")
    until(page, lambda: page.locator(BADGE).inner_text() == "Live")
    for answered in (1, 2):  # a quiet run is no dead road
        page.clock.run_for(12_000)
        until(page, lambda answered=answered: len(pongs) >= answered)
    assert len(sockets) == 1
    deaf = True
    page.clock.run_for(15_000)
    until(page, lambda: len(sockets) == 2)
    publisher.event("heard again")
    until(page, lambda: story(page) == ["heard again"])


def test_a_page_without_its_server_says_of_when_it_speaks(
    address: str, page: Page, run: Run, publisher: Publisher
) -> None:
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        if sockets:
            socket.close()
            return
        sockets.append(socket)
        socket.connect_to_server()

    page.route_web_socket(re.compile("/ws/"), connect)
    page.route("**/fragment/", lambda route: route.abort())
    publisher.plan()
    page.goto(f"{address}/runs/{run.pk}/")
    expect(page.locator(BADGE)).to_contain_text("Live")
    as_of = page.locator("surveyor-run [data-f=as_of]")
    status = page.locator("surveyor-run .state-line .st")
    present = status.evaluate("e => getComputedStyle(e).color")
    expect(as_of).to_be_hidden()
    sockets[0].close(code=1012)
    expect(as_of).to_have_text(re.compile(r"^as of \d\d:\d\d:\d\d UTC; what"))
    assert status.evaluate("e => getComputedStyle(e).color") != present


def test_elapsed_follows_the_servers_clock(address: str, page: Page, run: Run) -> None:
    page.clock.install(time=datetime.now(UTC) + timedelta(hours=2))
    page.goto(f"{address}/runs/{run.pk}/")
    elapsed = page.locator("surveyor-run [data-f=elapsed]")
    first = elapsed.inner_text()
    expect(elapsed).not_to_have_text(first)
    assert re.fullmatch(r"0:\d\d", elapsed.inner_text())


def test_a_filtered_list_is_fetched_when_it_changes_and_spares_the_hand_on_its_filter(
    address: str, page: Page, run: Run, publisher: Publisher, complaints: None
) -> None:
    for name in ("one", "two"):
        Connection.objects.create(name=name, host="h", port=1, database="d", username="u")
    shown = a_run("queued")
    fetched: list[str] = []
    heard: list[object] = []
    page.on("request", lambda r: fetched.append(r.url) if "/fragment/" in r.url else None)
    page.on("websocket", lambda s: s.on("framereceived", lambda f: heard.append(f)))
    page.goto(f"{address}/runs/?status=queued")
    choice = page.locator("select[name=connection]")
    choice.focus()
    choice.select_option(label="two")
    until(page, lambda: heard)
    publisher.plan()
    began, done = time.monotonic(), 0
    while time.monotonic() - began < 2.5:
        before, done = len(heard), done + 1
        publisher.beat(0, done=done)
        until(page, lambda before=before: len(heard) > before)
    assert len(fetched) <= 1
    new = a_run("queued")
    expect(page.locator(f"tr[data-run-row='{new.pk}']")).to_be_visible()
    end(shown)
    expect(page.locator(f"tr[data-run-row='{shown.pk}']")).to_have_count(0)
    assert choice.evaluate("e => e.selectedOptions[0].text") == "two"
    expect(choice).to_be_focused()
