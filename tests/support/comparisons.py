"""Comparisons with a baseline as they lie in a store and an index, made of seeded numbers: no model, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

from model_health.baseline.answers import compare
from model_health.baseline.artefact import Baseline
from model_health.baseline.flips import flip_report
from model_health.baseline.observations import ReplayObservation
from model_health.baseline.policy import judge
from model_health.baseline.profile import profile_of
from model_health.config.gates import GatesConfig
from model_health.config.yaml_files import read_yaml
from model_health.runner.compare_record import ComparisonPlace, result_of, write_comparison
from model_health.store.comparisons import ComparisonStore
from model_health.store.index.index import Index
from model_health.store.names import RunFolder
from support.observations import key, observation, tolerance_of

ROOT: Final = Path(__file__).resolve().parents[2]
POLICY: Final = GatesConfig.model_validate(read_yaml(ROOT / "configs" / "gates.yaml", relative_to=ROOT).data).regression
WHEN: Final = datetime(2026, 11, 22, 3, tzinfo=UTC)
BASELINE: Final = cast(
    Baseline,
    SimpleNamespace(
        document=SimpleNamespace(model_name="tiny", suite="smoke"),
        baseline_id="ab" * 16,
        reference="tiny/smoke/abababababab",
    ),
)


def words(ids: Sequence[int]) -> str:
    """Token ids as words; one of them is markup."""
    return "".join(" <script>alert(1)</script>" if token == 7 else f" w{token}" for token in ids)


def made(new: ReplayObservation | None = None, **moved: Any) -> Any:
    """What `compare_loaded` gives for a replay that moved so, under another batch size unless a replay is given."""
    old = observation()
    new = observation(key(batch_size=1), **moved) if new is None else new
    tolerance = tolerance_of(old, [{"batch_size": 1}])
    found = compare(old, new, tolerance, statistics=POLICY.statistics)
    numbers = found.numbers
    return SimpleNamespace(
        comparison=found,
        verdict=judge(found, POLICY, use="nightly", model="tiny", suite="smoke"),
        cause=None,
        flips=flip_report(old, new, words) if numbers is not None and found.moved else None,
        observation=new,
        profile=None if numbers is None else profile_of(old, new, numbers, tolerance, confidence=0.95),
    )


def place(run_id: str = "night-1", *, of_run: bool = True, at: datetime = WHEN, candidate: str = "tiny") -> Any:
    """Where a comparison lies."""
    return ComparisonPlace(RunFolder.of("tiny", "smoke", run_id), of_run, candidate, "nightly", at)


def compared_result(**moved: Any) -> dict[str, Any]:
    """`comparison.json` of a comparison by these numbers."""
    return result_of(made(**moved), BASELINE, place())


def record(index: Index, root: Path, compared: Any = None, *, run_id: str = "night-1", **where: Any) -> str:
    """Put a comparison into a store and an index; its key."""
    at = place(run_id, **where)
    write_comparison(ComparisonStore.open(root), index, compared or made(), BASELINE, at)
    return str(at.folder.key)


OLD_RESULT: Final[dict[str, Any]] = {
    "format": "1.0.0",
    "comparison": "tiny/smoke/night-1",
    "of_run": True,
    "at": "2026-11-22T03:00:00+00:00",
    "model": "tiny",
    "suite": "smoke",
    "baseline": "tiny/smoke/abababababab",
    "candidate": "tiny",
    "purpose": "nightly",
    "verdict": "fail",
    "exit_code": 1,
    "answer": "changed",
    "reason": "beyond tolerance in sketch from layer.1",
    "axes": ["batch"],
    "moved": True,
    "level": 0.001,
    "numbers": {
        "families": {"logprob": 0.5, "kl": 0.1, "flips": 0.2, "entropy": 0.3, "sketch": 0.25, "norm": 0.1},
        "worst": {},
        "states": [0.0, 0.0, 0.25],
        "flips": 2,
        "tokens": 60,
        "mean_logprob": 0.1,
        "golden": {"sun": 0.25, "rain": -0.05},
    },
    "ratios": {"logprob": 3.0, "kl": None},
    "beyond": ["sketch"],
    "unrecorded": [],
    "harm": {
        "effect": {"clusters": 2, "mean": 0.1, "sd": 0.2, "low": None, "high": None, "detectable": None},
        "margin": 0.02,
        "level": 0.001,
        "p": 0.25,
        "worse": False,
        "not_worse": False,
        "needed": 12,
        "worst": [["sun", 0.25]],
    },
    "flags": [],
    "p_values": {"golden": 0.25},
    "place": {"state": "layer.1", "how": "band", "item_id": "sun:golden", "row": 3, "token_id": 9, "reason": "r"},
    "non_finite": None,
    "needed": 12,
    "policy": {"outcome": "fail", "use": "nightly", "rule": "nightly", "reasons": ["changed: beyond tolerance"]},
    "cause": {"cause": "software", "reason": "other libraries"},
    "flips": {"flipped": 2, "of": 60},
    "cost": {"cpu_seconds": 1.5, "wall_seconds": 0.75},
}
"""A result as version 1.0.0 wrote it: without `profile`."""
