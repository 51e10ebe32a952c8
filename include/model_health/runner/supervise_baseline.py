"""Makes a baseline in a supervised child, and says what would change if it were promoted.

Owns the child's command line, its time limit and what its end means; the child itself runs `model-health baseline
create`. Promotes nothing. Loads no torch.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from model_health.baseline.difference import difference
from model_health.baseline.document import Provenance
from model_health.baseline.registry import current, find, load
from model_health.baseline.store import BaselineStore
from model_health.config.load import load_project
from model_health.config.settings import Settings, child_environment, load_settings
from model_health.errors import BadInput, ChildFailed, ExitCode
from model_health.runner.supervise import TERMINATE_GRACE_SECONDS, StopSignal
from model_health.runner.supervise_log import LogTail
from model_health.runner.supervise_process import ChildProcess

TIME_FACTOR: Final = 3.0
"""A baseline is about ten replays, where a run is one generation: it may take so many times as long."""
_ENTRY: Final = ("-X", "faulthandler", "-m", "model_health.cli.main")
_POLL_SECONDS: Final = 0.2


@dataclass(frozen=True)
class MadeBaseline:
    """A baseline that waits to be promoted.

    Args:
        model, suite, baseline: whose it is, and MODEL/SUITE/ID.
        reproducible: whether its replays were bit-equal; None where it was replayed once.
        replaces: the id of the promoted one; None where there is none.
        differs_in: axes on which the two differ. texts, texts_differing: compared, and with other bits; None where the
            two are not comparable.
    """

    model: str
    suite: str
    baseline: str
    reproducible: bool | None
    replaces: str | None
    differs_in: tuple[str, ...] = ()
    texts: int | None = None
    texts_differing: int | None = None

    def summary(self) -> dict[str, Any]:
        """For XCom, and for the page on which somebody approves."""
        return {**asdict(self), "differs_in": list(self.differs_in), "says": self.says}

    @property
    def says(self) -> str:
        """What would change, in a sentence."""
        if self.replaces is None:
            return "It would be the first baseline that counts."
        axes = ", ".join(self.differs_in) or "nothing that the key names"
        texts = "they are not comparable"
        if self.texts_differing is not None:
            texts = f"{self.texts_differing} of {self.texts} texts have other bits"
        return f"It would replace {self.replaces[:12]}; they differ in {axes}, and {texts}."


def make_baseline(
    model: str,
    suite: str | None,
    provenance: Provenance,
    *,
    runs: int = 1,
    on_line: Callable[[str], None] = lambda line: None,
    stop: StopSignal | None = None,
    settings: Settings | None = None,
) -> MadeBaseline:
    """Make a baseline of the newest healthy runs, in a child with its own interpreter.

    Raises:
        BadInput: no such model or suite, or no run may stand behind a baseline.
        ChildFailed: the child died, took too long, was told to stop or left no result.
        StoreError: the baselines cannot be read.
    """
    settings = settings or load_settings()
    project = load_project(settings)
    config = project.get_model(model)
    name = project.get_suite(suite or config.suites[0]).name
    command = [str(settings.python), *_ENTRY, "baseline", "create", "--model", config.name, "--suite", name]
    command += ["--reason", provenance.reason, "--by", provenance.by, "--runs", str(runs)]
    row = _run(command, settings, config.timeout_seconds * TIME_FACTOR, config.name, on_line, stop or StopSignal())
    return _made(BaselineStore.open(settings.store_uri), str(row["baseline"]), row["reproducible"])


def _made(store: BaselineStore, reference: str, reproducible: bool | None) -> MadeBaseline:
    model, suite, baseline_id = find(store, reference)
    promoted = current(store, model, suite)
    if promoted is None or promoted.baseline_id == baseline_id:
        replaces = None if promoted is None else promoted.baseline_id
        return MadeBaseline(model, suite, reference, reproducible, replaces)
    apart = difference(load(store, f"{model}/{suite}/{promoted.baseline_id}"), load(store, reference))
    differing = None if apart.items is None else len(apart.items)
    return MadeBaseline(
        model, suite, reference, reproducible, promoted.baseline_id, tuple(apart.axes), apart.compared, differing
    )


def _run(
    command: list[str],
    settings: Settings,
    seconds: float,
    model: str,
    on_line: Callable[[str], None],
    stop: StopSignal,
) -> dict[str, Any]:
    tail, deadline = LogTail(), time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="model-health-") as folder:
        result = Path(folder) / "result.json"
        command = [*command, "--json", "--result-file", str(result)]
        with ChildProcess(
            command, environment=child_environment(settings), grace_seconds=TERMINATE_GRACE_SECONDS
        ) as child:
            while child.poll() is None:
                for line in child.read_lines(_POLL_SECONDS):
                    tail.add(line)
                    on_line(line)
                late = time.monotonic() >= deadline
                if stop.requested or late:
                    why = f"told to stop ({stop.reason})" if stop.requested else f"did not end within {seconds:g} s"
                    raise ChildFailed(why, subject=model, log_tail=tail.text())
            for line in child.drain():
                tail.add(line)
                on_line(line)
            status = child.poll()
        if status == ExitCode.BAD_INPUT:
            raise BadInput(tail.last or "the child refused its input", subject=model)
        if status != ExitCode.HEALTHY or not result.is_file():
            raise ChildFailed(f"ended with status {status}", subject=model, hint=tail.last, log_tail=tail.text())
        row: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return row
