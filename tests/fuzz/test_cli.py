"""Command lines that nobody should type: an exit code of ours and one line, or argparse's words; never a traceback."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.cli.main import main
from model_health.errors import ExitCode
from model_health.store.backup import backup
from model_health.store.index.index import Index
from support.configs import MODEL, SUITE, write_files
from support.fuzzing import Guard, attempt, fuzz, one_line
from support.mutations import TEXTS, ByteEdit, byte_edits, damaged
from support.traces import trace, write
from support.validation import NOW, healthy_telemetry, report_of, store_run

ENTRY = "CLI"
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ERRORS = (ExitCode.BAD_INPUT, ExitCode.COULD_NOT_MEASURE)


@pytest.fixture
def home(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a model that has no weights, one run in the store, and some reports beside it."""
    home = scratch / "own" / "home"
    write_files(home, {"models/tiny.yaml": MODEL, "canaries/smoke.yaml": SUITE})
    for name in ("gates.yaml", "sinks.yaml", "monitors.yaml", "thresholds.yaml"):
        shutil.copy(CONFIGS / name, home / "configs" / name)
    store_run(home / ".model-health", [report_of(healthy_telemetry(steps=2, layers=2))])
    Index.open(home / ".model-health" / "index.db").close()
    for folder in ("in", "out"):
        (scratch / "own" / folder).mkdir()
    os.mkfifo(scratch / "own" / "pipe")
    write(scratch / "own" / "in" / "report.json.gz", trace("0.3.0", steps=1, layers=1))
    write(scratch / "own" / "in" / "old.json", trace("0.2.0", steps=1, layers=1))
    (scratch / "own" / "in" / "broken.json").write_text('{"schema_version": "0.3.0", "trace_id": [')
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(home))
    return home


def call(argv: list[str]) -> int:
    """The exit code; the streams are as strict as a terminal's, and stderr is looked at."""
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.stdout, sys.stderr
    streams = (
        io.TextIOWrapper(out, encoding="utf-8", errors="strict", write_through=True),
        io.TextIOWrapper(err, encoding="utf-8", errors="backslashreplace", write_through=True),
    )
    sys.stdout, sys.stderr = streams
    try:
        code = main(argv)
    except SystemExit as end:
        code = int(end.code or 0)
        assert code in (ExitCode.HEALTHY, ExitCode.BAD_INPUT)
        return code
    finally:
        sys.stdout, sys.stderr = before
    assert code in set(ExitCode), streams
    said = err.getvalue().decode()
    assert "Traceback" not in said
    if code in ERRORS:
        last = said.splitlines()[-1]
        assert last.startswith("model-health: "), said
        one_line(last)
    return code


FLAGS = [
    "--json",
    "--model",
    "--suite",
    "--out",
    "--history",
    "--target",
    "--item",
    "--days",
    "--runs",
    "--run-id",
    "--reason",
    "--by",
    "--use",
    "--baseline",
    "--device",
    "--batch-size",
    "--sink",
    "--perf",
    "--dtype",
    "--items",
    "--state",
    "--dry-run",
    "--nights",
    "--seed",
    "--fault",
    "--few",
    "--help",
    "--version",
    "--",
    "-",
    "-x",
    "--no",
]
# Nothing here names the configured model, nor `validate`: they would load torch and Great Expectations.
WORDS = [
    "run",
    "show",
    "convert",
    "models",
    "suites",
    "baseline",
    "compare",
    "outbox",
    "gates",
    "alerts",
    "monitors",
    "self-test",
    "rehearse",
    "store",
    "list",
    "retry",
    "ledger",
    "diff",
    "promote",
    "prune",
    "reader",
    "smoke",
    "nobody",
    "tiny/smoke",
    "nobody/smoke",
    "core",
    "pass",
    "dead",
    "0",
    "-1",
    "3",
    "1e9",
    "9" * 30,
    "prometheus",
]

odd = st.one_of(st.sampled_from(TEXTS), st.text(max_size=12), st.sampled_from(["\udcff\udcfe", "a\udc80b"]))
words = st.one_of(odd, st.sampled_from(WORDS))
inputs = st.one_of(
    odd,
    st.sampled_from(["{own}/in/report.json.gz", "{own}/in/old.json", "{own}/in/broken.json", "{own}/in", "{own}/gone"]),
    st.sampled_from(
        ["file://{own}/home/.model-health/store/runs/x/y/z/manifest.json", "{own}/home/configs/gates.yaml"]
    ),
    st.sampled_from(["memory://x/runs/a/b/c/manifest.json", "/dev/null", "/proc/self/mem", "{guard}/kept", "{guard}"]),
)
names = odd.map(lambda text: text if text != "tiny" else "")
targets = st.sampled_from(
    ["{own}/out/a.json", "{own}/out/b.json.gz", "{own}/out/c", "{own}/in", "{own}/pipe", "/proc/x/y"]
)
numbers = st.sampled_from(["0", "-1", "1", "x", "", "9" * 30, "1.5", "nan", "1_0", "٣"])


def line(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[list[str]]:
    """A command line of these parts."""
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map(list)


command_lines = st.one_of(
    line("show", inputs),
    line("show", inputs, "--json"),
    line("convert", inputs, targets),
    line("suites", words),
    line("run", "--model", names, "--suite", words, "--batch-size", numbers),
    line("run", "--model", "nobody", "--result-file", targets, "--device", words),
    line("baseline", st.sampled_from(["show", "promote"]), words, "--out", inputs, "--reason", odd),
    line("baseline", "list", "--model", words, "--suite", words),
    line("baseline", "diff", words, words, "--json"),
    line("compare", "--baseline", words, "--model", names, "--out", inputs),
    line(
        "outbox", st.sampled_from(["list", "retry", "ledger"]), "--item", numbers, "--state", words, "--target", words
    ),
    line("gates", "--model", words, "--json"),
    line("alerts", "list", "--history", "--model", words),
    line("alerts", "test", "--target", words),
    line("monitors", "render", "--target", st.sampled_from(["prometheus", "datadog"]), "--out", targets),
    line("monitors", st.sampled_from(["diff", "render"]), "--target", words),
    line("self-test", "--model", names, "--items", numbers, "--dtype", words),
    line("rehearse", "--model", names, "--few", numbers),
    line("demo", "--out", targets, "--nights", st.sampled_from(["0", "-1", "x", ""])),
    line("store", "prune", "--days", numbers, "--runs", numbers, "--delete"),
    line("store", "reader", words, "--password-secret", words),
    line("store", "backup", targets),
    line("store", "restore", inputs),
    st.lists(st.one_of(words, st.sampled_from(FLAGS)), max_size=6),
)


def is_quick(argv: list[str]) -> bool:
    return argv[:1] != ["demo"] or "--nights" in argv


@fuzz(full=2000, short=70)
@given(argv=command_lines.filter(is_quick))
def test_any_command_line_ends_with_a_code_and_a_line(home: Path, argv: list[str], scratch: Path, guard: Guard) -> None:
    shutil.rmtree(scratch / "own" / "out", ignore_errors=True)
    (scratch / "own" / "out").mkdir()
    placed = [part.replace("{own}", f"{scratch}/own").replace("{guard}", f"{scratch}/guard") for part in argv]
    attempt(ENTRY, lambda: call(placed), guard)


@fuzz(full=400, short=10)
@given(changes=byte_edits, inside=st.booleans(), name=st.one_of(odd, st.just("index.jsonl.gz")), link=st.booleans())
def test_a_damaged_backup_is_refused_and_writes_nothing_elsewhere(
    home: Path,
    changes: list[ByteEdit],
    inside: bool,
    name: str,
    link: bool,
    scratch: Path,
    guard: Guard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, own = scratch / "own" / "in" / "whole.tar", scratch / "own"
    if not made.exists():
        settings = home / ".model-health"
        backup(f"sqlite:///{settings}/index.db", str(settings / "store"), made, now=NOW)
    damaged_file, fresh = own / "in" / "damaged.tar", own / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    (fresh / "configs").mkdir(parents=True)
    if inside:
        with tarfile.open(made) as source, tarfile.open(damaged_file, "w") as target:
            for member in source.getmembers():
                content = source.extractfile(member)
                data = damaged(content.read() if content else b"", changes[:1])
                member.size = len(data)
                target.addfile(member, io.BytesIO(data))
            added = tarfile.TarInfo(name.encode("utf-8", "replace").decode())
            added.type, added.linkname = (tarfile.SYMTYPE if link else tarfile.REGTYPE), "../../../guard"
            target.addfile(added)
    else:
        damaged_file.write_bytes(damaged(made.read_bytes(), changes))
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(fresh))
    attempt(ENTRY, lambda: call(["store", "restore", str(damaged_file)]), guard)
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(home))
