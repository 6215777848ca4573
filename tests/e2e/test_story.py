"""One story through the whole product: watch the demo run, read what it left, add and cancel.

Its own pytest process: playwright's loop and asyncio tests do not mix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import Complaints, chromium, serious_findings, sign_in
from tests.e2e.instance import Instance, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

WHILE_RUNNING = 120_000


@pytest.fixture(scope="module")
def surveyor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    directory: Path = tmp_path_factory.mktemp("surveyor")
    with running(directory) as instance:
        yield instance


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def page(surveyor: Instance, complaints: Complaints) -> Iterator[Page]:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        complaints.watch(page)
        page.set_default_timeout(20_000)
        yield page


def check(page: Page) -> None:
    assert serious_findings(page) == []


def test_the_story(surveyor: Instance, page: Page, complaints: Complaints) -> None:
    arrive(surveyor, page)
    watch_the_demo_run(page)
    read_the_catalogue(page)
    connect_a_database(surveyor, page)
    start_and_cancel(page)
    look_at_the_workers(page)
    leave(page)
    assert complaints.lines == []


def arrive(surveyor: Instance, page: Page) -> None:
    page.goto(f"{surveyor.address}/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    check(page)
    sign_in(page, surveyor.address, "admin", surveyor.password)
    expect(page.locator("tr[data-run-row]")).to_have_count(1)
    check(page)


FINISHED_LAST = """() => {
  const words = [...document.querySelectorAll("tr[data-shard] [data-f=verdict]")]
    .map((e) => e.textContent.trim());
  const first = words.indexOf("finished");
  return first > 0 && words.slice(first).every((word) => word === "finished");
}"""


def watch_the_demo_run(page: Page) -> None:
    """It moves without being loaded again, and says so; then it is whole."""
    page.locator("[data-run-row]").get_by_role("link", name="Run").click()
    expect(page.locator("[data-live-badge]")).to_contain_text("Live")
    loads: list[str] = []
    page.on("load", lambda page: loads.append(page.url))
    done = page.locator("surveyor-run .of [data-f=done]")
    expect(done).not_to_have_text(re.compile("^0$"), timeout=WHILE_RUNNING)
    first = done.inner_text()
    check(page)
    expect(done).not_to_have_text(first, timeout=WHILE_RUNNING)
    page.wait_for_function(FINISHED_LAST, timeout=WHILE_RUNNING)
    status = page.locator("surveyor-run .state-line [data-f=status]")
    expect(status).to_have_text("Succeeded", timeout=WHILE_RUNNING)
    expect(page.locator("surveyor-run .figure")).to_have_text(re.compile(r"100\s*%"))
    expect(page.get_by_role("heading", name="What was read")).to_be_visible()
    assert loads == []
    check(page)


def read_the_catalogue(page: Page) -> None:
    page.get_by_role("link", name="Open the catalogue").click()
    # More names than a screen holds.
    schemas = page.locator("nav[aria-labelledby=h-schemas] .pick a")
    fills_a_narrow_screen(page)
    page.get_by_label("Filter schemas by name").press_sequentially("CRM")
    expect(schemas).to_have_text([re.compile(r"^crm")])
    schemas.click()
    ends_with_its_content(page)
    page.locator("nav[aria-labelledby=h-relations] .pick a").first.click()
    expect(page.get_by_role("heading", name="Columns")).to_be_visible()
    ends_with_its_content(page)
    check(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="columns as CSV").click()
    header = Path(download.value.path()).read_text().partition("\n")[0]
    assert header.startswith("schema_name,relation_name,column_name")


BELOW_ITS_CONTENT = """() => document.documentElement.scrollHeight - Math.max(
  innerHeight, document.querySelector("main").getBoundingClientRect().bottom + scrollY)"""


def fills_a_narrow_screen(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 900})
    panes = page.locator(".panes .pane")
    widths = [box["width"] for box in (pane.bounding_box() for pane in panes.all()) if box]
    assert widths == [390 - 2 * 16] * 2
    page.set_viewport_size({"width": 1440, "height": 900})


def ends_with_its_content(page: Page) -> None:
    for width in (390, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(BELOW_ITS_CONTENT) < 2, width


def connect_a_database(surveyor: Instance, page: Page) -> None:
    page.get_by_role("link", name="Connections").click()
    check(page)
    page.get_by_role("link", name="Connect a database").click()
    fields = surveyor.source | {"name": "second", "port": 70000}
    _fill(page, fields)
    page.get_by_role("button", name="Save").click()
    link = page.get_by_role("link", name="Port: 70000 is not a port")
    expect(link).to_be_visible()
    check(page)
    link.click()
    expect(page.locator("#id_port")).to_be_focused()
    _fill(page, fields | {"port": surveyor.source["port"], "password": surveyor.source["password"]})
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved second.")).to_be_visible()
    page.get_by_role("button", name="Check").click()
    expect(page.get_by_text("all steps passed")).to_be_visible()
    check(page)


def _fill(page: Page, fields: dict[str, object]) -> None:
    for name, value in fields.items():
        field = page.locator(f"#id_{name}")
        if field.evaluate("e => e.tagName") == "SELECT":
            field.select_option(str(value))
        else:
            field.fill(str(value))


def start_and_cancel(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()
    status = page.locator("surveyor-run .state-line [data-f=status]")
    expect(status).to_have_text("Running")
    page.get_by_role("link", name="Cancel…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    check(page)
    dialog.get_by_role("button", name="Cancel the run").click()
    expect(status).to_have_text("Cancelled", timeout=30_000)
    check(page)


def look_at_the_workers(page: Page) -> None:
    page.get_by_role("link", name="Workers").click()
    expect(page.locator("surveyor-workers")).to_contain_text("3 at work")
    expect(page.locator("[data-live-badge]")).to_contain_text("Every 5 s")
    check(page)


def leave(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.go_back()
    page.goto(page.url)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
