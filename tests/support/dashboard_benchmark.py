"""The dashboard's benchmark: a year of 20 models, 24 runs a day, in SQLite and PostgreSQL; how quick are the pages?

Fills each index once (and uses it again), asks what the pages ask, then opens the pages in Chromium on a real server.
Prints medians and 95th percentiles, and writes them as JSON. Times on a shared machine only inform; no test rests on
them. Run with `make bench-dashboard`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import Connection, func, select

from model_health.bench.year_questions import QUESTIONS, models_in_turn
from model_health.bench.year_rows import SUITE, Size, fill
from model_health.host import cpu_name
from model_health.store.index.engine import parse_index_url
from model_health.store.index.index import Index
from support.browser import Visitor, launch, served

WATCH = """
() => {
  const app = () => document.querySelector('[data-testid="stApp"]');
  const state = () => app()?.getAttribute('data-test-script-state');
  const drawn = () => document.querySelectorAll('[data-stale="true"], [data-testid="stSkeleton"]').length === 0 &&
    [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')].every(one => one.querySelector('canvas, svg'));
  window.watched = {start: null, ran: false, done: null};
  const begin = () => { window.watched = {start: performance.now(), ran: false, done: null}; };
  for (const kind of ['pointerup', 'keydown']) document.addEventListener(kind, begin, true);
  const look = () => {
    const seen = window.watched;
    if (seen.start !== null && seen.done === null) {
      if (state() === 'running') seen.ran = true;
      else if (seen.ran && state() === 'notRunning' && drawn()) seen.done = performance.now() - seen.start;
    }
    requestAnimationFrame(look);
  };
  look();
}
"""
"""Watches a page from inside: from the last key or click to the moment at which everything is drawn again."""
FIRST = "window.performance.now()"
PATIENCE = 180_000
"""Milliseconds."""
UNFOLDING = 1000
"""Milliseconds: a list that is opened while its surroundings still move closes again."""
RULE = "|---|---|---|---|---|"
KEPT_SECONDS = 15.5
"""A little longer than the pages keep what they read."""


def percentile_95(values: Sequence[float]) -> float:
    """By nearest rank."""
    return sorted(values)[max(0, -(-len(values) * 95 // 100) - 1)]


Times = dict[str, list[tuple[float, float]]]
"""By name: milliseconds that passed, and milliseconds that processors worked for it (the server, or the database)."""


def timed(call: Callable[[], object], worked: Callable[[], float]) -> tuple[float, float]:
    """Milliseconds that passed, and that were worked."""
    begin, before = time.perf_counter(), worked()
    call()
    return 1000.0 * (time.perf_counter() - begin), 1000.0 * (worked() - before)


def ask(url: str, size: Size, end: datetime, rounds: int) -> Times:
    """Each question, by its name; each round asks about another model."""
    times: Times = {}
    with Index.open(url, migrate_up=False) as index:
        for model in models_in_turn(size.models, rounds):
            for question in QUESTIONS:
                with index.reading("time a question") as connection:
                    one = timed(partial(question.ask, connection, model, end), worked_for(connection))
                times.setdefault(question.name, []).append(one)
    return times


def worked_for(connection: Connection) -> Callable[[], float]:
    """Seconds of processor time of this process, and of the one that answers the connection where it runs here."""
    if connection.dialect.name != "postgresql":
        return time.process_time
    backend = Path(f"/proc/{connection.execute(select(func.pg_backend_pid())).scalar_one()}/schedstat")
    return lambda: time.process_time() + (int(backend.read_text().split()[0]) / 1e9 if backend.exists() else 0.0)


@contextmanager
def a_page(browser: Browser) -> Iterator[Page]:
    """A page of a person who was never here."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    try:
        yield context.new_page()
    finally:
        context.close()


def first_view(browser: Browser, address: str, title: str) -> float:
    """Milliseconds from the address to the page that is drawn, in a session of its own."""
    with a_page(browser) as page:
        patient(page).open(address, title)
        return float(page.evaluate(FIRST))


def patient(page: Page) -> Visitor:
    """Somebody who waits as long as it takes: a benchmark on a busy machine is slow, not broken."""
    visitor = Visitor(page)
    page.set_default_timeout(PATIENCE)
    return visitor


def change(page: Page, act: Callable[[Page], None]) -> float:
    """Milliseconds from somebody's last key or click to the page that is drawn anew."""
    act(page)
    page.wait_for_function("window.watched.done !== null")
    return float(page.evaluate("window.watched.done"))


def opened(label: str, inside: Callable[[Page], None]) -> Callable[[Page], None]:
    """Open what is folded, then act in it."""

    def act(page: Page) -> None:
        page.get_by_text(label, exact=True).first.click()
        page.wait_for_timeout(UNFOLDING)
        inside(page)

    return act


def search(text: str) -> Callable[[Page], None]:
    """Type into the fleet's search and ask for it."""

    def act(page: Page) -> None:
        box = page.get_by_label("Search").first
        box.fill(text)
        box.press("Enter")

    return act


def choose(label: str, option: str) -> Callable[[Page], None]:
    """Choose something from a list."""

    def act(page: Page) -> None:
        page.get_by_label(label, exact=True).first.click()
        page.get_by_role("option", name=option, exact=True).first.click()

    return act


def visit(url: str, home: Path, size: Size, rounds: int) -> dict[str, Any]:
    """Open the pages on a server of their own: each view and change, and the server's memory."""
    times: Times = {}
    variables = {
        "MODEL_HEALTH_HOME": str(home),
        "MODEL_HEALTH_INDEX_URL": url,
        "MODEL_HEALTH_STORE_URI": str(home / "reports"),
    }
    models = models_in_turn(size.models, rounds)
    with sync_playwright() as playwright, served(home, variables) as address:
        server, browser = server_process(), launch(playwright)

        def worked() -> float:
            spent = server.cpu_times()
            return float(spent.user + spent.system)

        def note(name: str, call: Callable[[], float]) -> None:
            before = worked()
            passed = call()
            times.setdefault(name, []).append((passed, 1000.0 * (worked() - before)))

        try:
            pages = [f"{address}/model?model={model}&suite={SUITE}" for model in models]
            cold = {"Fleet": first_view(browser, address, "Fleet"), "Model": first_view(browser, pages[0], "Model")}
            for page_of in pages:
                time.sleep(KEPT_SECONDS)
                note("Fleet, first view", partial(first_view, browser, address, "Fleet"))
                note("Model, first view", partial(first_view, browser, page_of, "Model"))
            with a_page(browser) as page:
                patient(page).open(address, "Fleet")
                page.evaluate(WATCH)
                for number, model in enumerate(models):
                    note("Fleet, a search", partial(change, page, search(model[: 10 + number % 3])))
            with a_page(browser) as page:
                visitor = patient(page)
                for page_of in pages:
                    visitor.open(page_of, "Model")
                    page.evaluate(WATCH)
                    for name, act in MODEL_CHANGES:
                        note(f"Model, {name}", partial(change, page, act))
        finally:
            browser.close()
        memory = server.memory_info().rss
    return {"times": times, "after_start": cold, "server_rss_bytes": memory}


def view(name: str) -> Callable[[Page], None]:
    """Look at another part of a page."""

    def act(page: Page) -> None:
        page.get_by_role("radio", name=name, exact=True).or_(
            page.get_by_role("button", name=name, exact=True)
        ).first.click()

    return act


MODEL_CHANGES: tuple[tuple[str, Callable[[Page], None]], ...] = (
    ("a range of 90 days", choose("Time", "90 days")),
    ("a range of a year", choose("Time", "a year")),
    ("only one device", opened("Filters", choose("Device", "an accelerator"))),
    ("another metric", choose("Metric", "Mean surprisal (bits)")),
    ("the latencies of that year", view("Latency")),
    ("the flags of that year", view("Flags")),
    ("the runs", view("Runs")),
)


def server_process() -> psutil.Process:
    """The dashboard's server, which this process started."""
    children = psutil.Process().children(recursive=True)
    return next(child for child in children if "serve.py" in " ".join(child.cmdline()))


def report(found: dict[str, Any]) -> Iterator[str]:
    """The results as a page of Markdown."""
    machine, size = found["machine"], found["size"]
    yield "# The dashboard at the size of a year"
    yield ""
    yield (
        f"{size['models']} models x {size['runs_per_day']} runs a day x {size['days']} days: {size['runs']:,} runs, "
        f"{size['points']:,} metric points. Measured on {found['date']} with `make bench-dashboard`: "
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, load average "
        f"{machine['load_before']:.1f} before and {machine['load_after']:.1f} after; "
        f"{', '.join(f'{name} {number}' for name, number in found['versions'].items())}. Written by the benchmark."
    )
    yield ""
    yield (
        "Asked for: a first view of Fleet and Model within 1,500 ms, a change of range or filter within 500 ms, "
        "a server below 1,024 MiB. A first view is that of a browser which has never been there: it loads and compiles "
        "Streamlit's own application as well. *Processor* is what the server computed."
    )
    if machine["load_before"] > machine["cores"]:  # what is left of it afterwards is the measurement's own
        yield (
            f"With a load of {machine['load_before']:.1f} on {machine['cores']} cores the times that passed say "
            "little: most of them was spent waiting for other programs. *Processor* says what the work itself took, "
            "still slowed by them."
        )
    for name, one in found["indexes"].items():
        yield f"\n## {name}\n"
        yield (
            f"{one['gib']:.2f} GiB. Server: {one['pages']['server_rss_bytes'] / 2**20:.0f} MiB resident after "
            f"{sum(map(len, one['pages']['times'].values()))} views."
        )
        yield "\n| page in Chromium, until it is drawn | median (ms) | p95 (ms) | processor (ms) | times |"
        yield RULE
        yield from rows(one["pages"]["times"])
        yield "\n| question to the index | median (ms) | p95 (ms) | processor (ms) | times |"
        yield RULE
        yield from rows(one["questions"])
    yield ""
    yield (
        "*Processor* is the median time that the server (for a question: this process and the database) worked for it; "
        "where it is far below what passed, others used the machine meanwhile, or the browser drew. "
        "A first view is a session of its own, with nothing remembered of what it reads; a change runs from the last "
        "key or click. What a server needs once after its start (imports) is not in it: "
        + "; ".join(
            f"{name}: Fleet {one['pages']['after_start']['Fleet'] / 1000:.1f} s, then Model "
            f"{one['pages']['after_start']['Model'] / 1000:.1f} s"
            for name, one in found["indexes"].items()
        )
        + "."
    )


def rows(times: Times) -> Iterator[str]:
    """A table's lines."""
    for name, each in times.items():
        passed, worked = zip(*each, strict=True)
        yield f"| {name} | {median(passed):.0f} | {percentile_95(passed):.0f} | {median(worked):.0f} | {len(each)} |"


def machine() -> dict[str, Any]:
    """What this was measured on; no name of it."""
    return {
        "cores": os.cpu_count(),
        "processor": cpu_name(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load_before": os.getloadavg()[0],
    }


def size_gib(url: str) -> float:
    """How large an index is."""
    where = parse_index_url(url)
    if where.is_sqlite:
        return Path(str(where.url.database)).stat().st_size / 2**30
    with Index.open(url, migrate_up=False) as index:
        found = index.rows(select(func.pg_database_size(func.current_database())))
    return float(found[0][0]) / 2**30


def main(argv: Sequence[str] | None = None) -> int:
    """Fill, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", action="append", required=True, metavar="URL", help="filled once, then used again")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the server's own files")
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--runs-per-day", type=int, default=24)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--markdown", type=Path, metavar="PATH", help="write the results as a page")
    arguments = parser.parse_args(argv)
    size, now = Size(arguments.models, arguments.runs_per_day, arguments.days), datetime.now(UTC)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "date": now.date().isoformat(),
        "machine": machine(),
        "versions": {name: version(name) for name in ("streamlit", "sqlalchemy", "altair")},
        "size": {**asdict(size), "runs": size.runs, "points": size.points},
        "indexes": {},
    }
    for url in arguments.index:
        name = "SQLite" if parse_index_url(url).is_sqlite else "PostgreSQL"
        fill(url, size, now)
        questions = ask(url, size, now, arguments.rounds)
        print(f"{name}: questions to the index", *rows(questions), sep="\n", file=sys.stderr, flush=True)
        pages = visit(url, arguments.out.resolve(), size, arguments.rounds)
        found["indexes"][name] = {"gib": size_gib(url), "questions": questions, "pages": pages}
    found["machine"]["load_after"] = os.getloadavg()[0]
    page = "\n".join(report(found)) + "\n"
    (arguments.out / "dashboard.json").write_text(json.dumps(found, indent=1))
    if arguments.markdown is not None:
        arguments.markdown.write_text(page)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
