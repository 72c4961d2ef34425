"""/docs and /redoc, in a browser that tells whom it asks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.api.conftest import Listening, Start
from tests.api.helpers import problem

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PAGES = {"/docs": "#operations-jobs-job_submit", "/redoc": "text=Submit a job"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if BROWSER is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER)
        yield opened
        opened.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_shows_the_operations_and_asks_nobody_else(browser: Browser, live: Listening, path: str) -> None:
    page = browser.new_page()
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    base = f"http://127.0.0.1:{live.port}/"
    page.goto(f"{base[:-1]}{path}{'#tag/jobs' if path == '/redoc' else ''}")
    page.locator(PAGES[path]).first.wait_for()
    page.wait_for_load_state("networkidle")
    page.close()
    assert f"{base}openapi.json" in asked
    assert [url for url in asked if not url.startswith((base, "data:", "blob:"))] == []
    assert wrong == []


@pytest.mark.parametrize("path", PAGES)
def test_the_policy_of_a_page_names_nobody_else(start: Start, path: str) -> None:
    answer = start().get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    rules = dict(rule.strip().split(" ", 1) for rule in answer.headers["content-security-policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    sources = {source for told in rules.values() for source in told.split()}
    assert {source for source in sources if not source.startswith("'sha256-")} == {"'self'", "'none'", "data:", "blob:"}
    assert not re.search(r"https?:", answer.text)


def test_what_a_page_loads_is_served_here(start: Start) -> None:
    client = start(AUTH_MODE="required")
    for path in PAGES:
        for address in re.findall(r'"(/docs/assets/[\w.]+)"', client.get(path).text):
            answer = client.get(address)
            assert answer.status_code == 200
            assert len(answer.content) > 100_000
            assert answer.headers["content-type"] in ("text/javascript; charset=utf-8", "text/css; charset=utf-8")
            assert "max-age" in answer.headers["cache-control"]
            assert b"redoc.ly/redoc/logo" not in answer.content.replace(b"logo-mini.svg", b"")
    for name in ("scalar.js", "__init__.py", "..%2F__init__.py", "nope"):
        problem(client.get(f"/docs/assets/{name}"), 404)


def test_both_addresses_of_the_document_tell_the_same(start: Start) -> None:
    client = start()
    assert client.get("/docs/openapi.json").json() == client.get("/openapi.json").json()
