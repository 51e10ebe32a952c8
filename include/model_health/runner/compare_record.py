"""Writes a comparison down: its result as JSON and the flip report in the store, one row in the index.

Owns the fields of `comparison.json` and the row. Loads no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from model_health.baseline.artefact import Baseline
from model_health.baseline.flips_markdown import flips_markdown
from model_health.config.regression import Outcome
from model_health.errors import ExitCode
from model_health.store.comparisons import FLIPS_PAGE, ComparisonStore
from model_health.store.index.comparisons import ComparisonRecord, save_comparison
from model_health.store.index.index import Index
from model_health.store.names import RunFolder
from model_health.store.reports import StoredFile

if TYPE_CHECKING:
    from model_health.runner.compare import Compared

FORMAT: Final = "1.1.0"
"""1.1.0 added `profile`; a reader of 1.0.0 finds everything else where it was."""
EXIT_CODES: Final[Mapping[Outcome, ExitCode]] = {
    "pass": ExitCode.HEALTHY,
    "warn": ExitCode.HEALTHY,
    "fail": ExitCode.UNHEALTHY,
    "inconclusive": ExitCode.INCONCLUSIVE,
}


@dataclass(frozen=True)
class ComparisonPlace:
    """Where and what a comparison is.

    Args:
        folder: of the run that was compared (`of_run`), or one of its own.
        candidate: what was compared, as people call it.
        purpose: what for.
        night: the scheduler's run, which all models of a night share.
    """

    folder: RunFolder
    of_run: bool
    candidate: str
    purpose: str
    at: datetime
    night: str | None = None


def result_of(compared: Compared, baseline: Baseline, place: ComparisonPlace) -> dict[str, Any]:
    """`comparison.json`: everything that is known of a comparison, in plain JSON values."""
    document, verdict, cause = baseline.document, compared.verdict, compared.cause
    seen = compared.observation
    return {
        "format": FORMAT,
        "comparison": place.folder.key,
        "of_run": place.of_run,
        "at": place.at.isoformat(),
        "model": document.model_name,
        "suite": document.suite,
        "baseline": baseline.reference,
        "candidate": place.candidate,
        "purpose": place.purpose,
        "verdict": verdict.effective,
        "exit_code": int(EXIT_CODES[verdict.effective]),
        **compared.comparison.to_json(),
        "policy": verdict.to_json(),
        "cause": None if cause is None else {"cause": str(cause.cause), "reason": cause.reason},
        "profile": None if compared.profile is None else compared.profile.to_json(),
        "flips": None if compared.flips is None else {"flipped": compared.flips.flipped, "of": compared.flips.tokens},
        "cost": None if seen is None else {"cpu_seconds": seen.cpu_seconds, "wall_seconds": seen.wall_seconds},
    }


def write_comparison(
    store: ComparisonStore, index: Index, compared: Compared, baseline: Baseline, place: ComparisonPlace
) -> tuple[dict[str, Any], StoredFile]:
    """Write a comparison into the store, then the index; what was written, and where.

    Raises:
        StoreError: one of them failed.
    """
    result = _finite(result_of(compared, baseline, place))
    pages = None
    if compared.flips is not None:
        title = f"{place.candidate} against {baseline.reference}"
        page = flips_markdown(compared.flips, title=title).encode("utf-8", "replace")
        flips = json.dumps(_finite(compared.flips.to_json()), allow_nan=False, ensure_ascii=True).encode()
        pages = flips, page
        result["flips"]["page"] = store.uri(place.folder, FLIPS_PAGE, of_run=place.of_run)
    data = json.dumps(result, allow_nan=False, indent=2, ensure_ascii=True).encode()
    stored = store.write(place.folder, data, flips=pages, of_run=place.of_run)
    with index.transaction("record a comparison") as connection:
        save_comparison(connection, record_of(compared, baseline, place, stored))
    return {**result, "result_uri": stored.uri}, stored


def record_of(compared: Compared, baseline: Baseline, place: ComparisonPlace, stored: StoredFile) -> ComparisonRecord:
    """The row of the index."""
    found, verdict, flips, seen = compared.comparison, compared.verdict, compared.flips, compared.observation
    effect = None if found.harm is None else found.harm.effect
    state = found.place.state if found.place is not None else None
    return ComparisonRecord(
        key=place.folder.key,
        of_run=place.of_run,
        model=baseline.document.model_name,
        suite=baseline.document.suite,
        at=place.at,
        baseline_id=baseline.baseline_id,
        candidate=place.candidate[:1000],
        purpose=verdict.use,
        answer=str(found.answer),
        finding=found.reason[:2000],
        outcome=verdict.effective,
        reason="; ".join(verdict.reasons)[:4000],
        result_uri=stored.uri,
        result_digest=stored.digest,
        night=place.night,
        rule=verdict.rule,
        cause=None if compared.cause is None else str(compared.cause.cause),
        state=state if found.non_finite is None else found.non_finite.state,
        axes=tuple(found.axes),
        moved=found.moved,
        p_values=_finite(dict(found.p_values)),
        families=None if found.numbers is None else _finite(dict(found.numbers.families)),
        golden_mean=None if effect is None else _number(effect.mean),
        golden_low=None if effect is None else _number(effect.low),
        golden_high=None if effect is None else _number(effect.high),
        needed=found.needed,
        tokens=None if seen is None else seen.tokens,
        flipped=None if flips is None else flips.flipped,
        cpu_seconds=None if seen is None else seen.cpu_seconds,
        wall_seconds=None if seen is None else seen.wall_seconds,
    )


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """JSON knows no infinity (the interval of one prompt has one): null there."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value
