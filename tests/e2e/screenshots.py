"""`python -m tests.e2e.screenshots DIR`: every page, in two widths and both colour schemes.

Starts a Surveyor of its own; its first run is shot at about 40 % and when it ended.
"""

from __future__ import annotations

import re
import sys
import tempfile
from itertools import product
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser import chromium, sign_in
from tests.e2e.instance import Instance, running

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
SHOT_AT = re.compile(r"^(3[5-9]|[4-9]\d)$")


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as directory,
        running(Path(directory)) as surveyor,
        chromium() as browser,
    ):
        pages = {
            (width, scheme): _page(browser, surveyor, target, width, scheme)
            for width, scheme in product(WIDTHS, SCHEMES)
        }
        _shoot_run(pages, target)
        for (width, scheme), page in pages.items():
            _shoot_rest(page, surveyor, target, f"{width}-{scheme}")


def _page(browser: Browser, surveyor: Instance, target: Path, width: int, scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(f"{surveyor.address}/sign-in/")
    _shoot(page, target, "sign-in", f"{width}-{scheme}")
    sign_in(page, surveyor.address, "admin", surveyor.password)
    page.locator("[data-run-row]").get_by_role("link", name="Run").first.click()
    return page


def _shoot_run(pages: dict[tuple[int, str], Page], target: Path) -> None:
    for (width, scheme), page in pages.items():
        figure = page.locator("surveyor-run [data-f=percent]")
        expect(figure).to_have_text(SHOT_AT, timeout=120_000)
        _shoot(page, target, "run", f"{width}-{scheme}")
    for (width, scheme), page in pages.items():
        page.get_by_role("link", name="Change them").click()
        page.get_by_label("Source sessions").fill("0")
        page.get_by_role("button", name="Save").click()
        _shoot(page, target, "run-limits", f"{width}-{scheme}")
        page.get_by_role("link", name="Leave it").click()
    for (width, scheme), page in pages.items():
        status = page.locator("surveyor-run .state-line [data-f=status]")
        expect(status).to_have_text("Succeeded", timeout=120_000)
        expect(page.get_by_role("heading", name="What was read")).to_be_visible()
        _shoot(page, target, "finished", f"{width}-{scheme}")


def _shoot_rest(page: Page, surveyor: Instance, target: Path, suffix: str) -> None:
    page.get_by_role("link", name="Open the catalogue").click()
    _shoot(page, target, "snapshot", suffix)
    page.locator(".pick a", has_text="crm").click()
    page.locator("nav[aria-labelledby=h-relations] .pick a").first.click()
    _shoot(page, target, "catalogue", suffix)
    for name in ("runs", "runs/start", "connections", "workers", "admin"):
        page.goto(f"{surveyor.address}/{name}/")
        _shoot(page, target, name.replace("/", "-"), suffix)
    page.goto(f"{surveyor.address}/connections/new/")
    for name, value in (surveyor.source | {"name": "billing", "port": 70000}).items():
        if name not in {"dialect", "tls", "password"}:
            page.locator(f"#id_{name}").fill(str(value))
    page.get_by_role("button", name="Save").click()
    _shoot(page, target, "connection-error", suffix)
    page.goto(f"{surveyor.address}/connections/")
    page.get_by_role("link", name="demo", exact=True).click()
    page.get_by_role("button", name="Check").click()
    _shoot(page, target, "connection", suffix)


def _shoot(page: Page, target: Path, name: str, suffix: str) -> None:
    page.screenshot(path=target / f"{name}-{suffix}.png", full_page=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
