"""The dashboard as people meet it: a real server on loopback, and Debian's Chromium driven by Playwright."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Playwright

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE = 120_000
"""Milliseconds: for whatever is expected to appear. Two loaded cores are slow."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(home: Path, variables: Mapping[str, str], *options: str, base: str = "") -> Iterator[str]:
    """A dashboard's server; gives its address without a slash at the end.

    Args:
        home: where its log goes.
        variables: environment that points it at a store.
        *options: of `streamlit run`.
        base: path below which it is served.
    """
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MODEL_HEALTH_", "STREAMLIT_"))}
    command = [sys.executable, "dashboard/serve.py", f"--server.port={port}"]
    if base:
        command.append(f"--server.baseUrlPath={base}")
    log = home / "streamlit.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *options], cwd=ROOT, env={**clean, **variables}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}{f'/{base}' if base else ''}"
        _wait(f"{address}/_stcore/health", process, log)
        yield address
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        if process.poll() is not None:
            raise AssertionError(f"the server ended:\n{log.read_text(errors='replace')[-3000:]}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"the server did not answer:\n{log.read_text(errors='replace')[-3000:]}")


def launch(playwright: Playwright) -> Browser:
    """The browser. One is installed by `.ci/run`."""
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    assert found, "no Chromium on this machine (Debian: apt-get install chromium)"
    return playwright.chromium.launch(executable_path=found, args=FLAGS)


@dataclass
class Visitor:
    """A page of the browser, and everything that went wrong on it."""

    page: Page
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("response", lambda response: self._answered(response.url, response.status))
        self.page.on("requestfailed", lambda request: self._failed(request.url, str(request.failure)))

    def _heard(self, message: ConsoleMessage) -> None:
        # What did not load is noted with its address, by `_answered` and `_failed`.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.problems.append(f"console: {message.text}")

    def _answered(self, url: str, status: int) -> None:
        # Streamlit's own script finds out below which path it is served by asking, the longest one first.
        if status >= 400 and not url.endswith(("/_stcore/health", "/_stcore/host-config")):
            self.problems.append(f"answer: {status} {url}")

    def _failed(self, url: str, failure: str) -> None:
        if "ERR_ABORTED" not in failure:  # a request that the page itself gave up
            self.problems.append(f"request: {url}: {failure}")

    def open(self, address: str, title: str) -> None:
        """Go somewhere and wait until the page with this heading is drawn."""
        self.page.goto(address)
        self.settled(title)

    def settled(self, title: str | None = None) -> None:
        """Wait until the page has a heading and its script has run."""
        if title is not None:
            self.heading(title).wait_for()
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        self.page.wait_for_function("document.querySelectorAll('[data-stale=\"true\"]').length === 0")
        # A widget's code may still be on its way: until then the page shows a grey block in its place.
        self.page.wait_for_function("document.querySelectorAll('[data-testid=\"stSkeleton\"]').length === 0")
        # Charts draw after the script has ended: each gets its canvas or SVG.
        self.page.wait_for_function(
            "[...document.querySelectorAll('[data-testid=\"stVegaLiteChart\"]')]"
            ".every(chart => chart.querySelector('canvas, svg'))"
        )

    def heading(self, text: str) -> Locator:
        """A heading of the page."""
        return self.page.get_by_role("heading", name=text, exact=True).first

    def wide(self) -> int:
        """By how many pixels the page is wider than its window: 0 for one that fits."""
        script = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(script))
