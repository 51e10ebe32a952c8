"""Weeks of runs of a small fleet in an index, one model in each state that a page has to say something about."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from model_health.store.index import write
from model_health.store.index.alerts import lock_states, save_state
from model_health.store.index.index import Index
from model_health.store.index.records import Identity, Point, RunResult, RunStart
from model_health.store.index.validation import ValidationRecord, run_state, write_validation
from model_health.store.names import RunFolder
from support.index_rows import IDENTITY, sample

DAY = timedelta(days=1)
SUITE = "core"
NEWER = replace(
    IDENTITY,
    digest="id-2",
    revision="v2",
    weights_digest="sha256:cd34",
    libraries={"torch": "2.14.0"},
    device_class="cuda",
)
FLAGS = ("repetition_loop_detected", "nan_detected")


@functools.cache
def present() -> datetime:
    """What the tests of a module take for now, once they run: they are collected many minutes before.

    The pages look at the real clock. `tests/dashboard/conftest.py` sets it anew for each module.
    """
    return datetime.now(UTC)


def night(
    connection: Connection,
    model: str,
    at: datetime,
    *,
    entropy: float | None = 2.0,
    sick: int = 0,
    identity: Identity = IDENTITY,
    failed: str | None = None,
    valid: bool | None = True,
    suite: str = SUITE,
    seconds: float = 0.02,
) -> str:
    """One run with two prompts; its key."""
    run_id = f"{model}-{at:%Y%m%dT%H%M}"
    folder = RunFolder.of(model, suite, run_id)
    attempt = write.start_run(connection, RunStart(folder, run_id, at, suite_version="1.0.0", suite_digest="c0"))
    ended = at + timedelta(minutes=2)
    if failed is not None:
        write.fail_run(connection, attempt, failed, "", ended)
        return folder.key
    prompts = ("fact-1", "fact-2")
    points = []
    for number, name in enumerate(prompts):
        reason = None if entropy is not None else "logits of this family are not seen"
        value = None if entropy is None else entropy + 0.1 * number
        latency = seconds * (1 + number)
        points.append(Point("entropy_bits_mean", value, at, reason, name, "facts"))
        points.append(Point("time_per_output_token_seconds", latency, at, None, name, "facts"))
        points.append(Point("attention_entropy_bits_mean", None, at, "attention is not dispatched", name, "facts"))
    points.append(Point("prompts_total", float(len(prompts)), at))
    points.append(Point("prompts_unhealthy", float(sick), at))
    points += [
        Point("prompts_flagged", float(sick if n == 0 else 0), at, labels={"flag": f}) for n, f in enumerate(FLAGS)
    ]
    flags: Mapping[str, int] = {FLAGS[0]: sick} if sick else {}
    result = RunResult(
        ended,
        identity,
        "m",
        "d",
        "0.3.0",
        "1.0.0",
        "unhealthy" if sick else "healthy",
        flags=flags,
        unhealthy_flags=flags,
    )
    raised = [FLAGS[:1] if number < sick else () for number in range(len(prompts))]
    samples = [sample(n, flags=f, unhealthy_flags=f) for n, f in zip(prompts, raised, strict=True)]
    write.finish_run(connection, attempt, result, samples, points)
    if valid is not None:
        state = run_state(connection, folder.key)
        assert state is not None
        assert write_validation(connection, state, _validation(ended, valid))
    return folder.key


def _validation(at: datetime, valid: bool) -> ValidationRecord:
    why = None if valid else "a report is not valid"
    wrong = 0 if valid else 1
    return ValidationRecord(valid, at, 2, wrong, 10, 0.1, reason=why, result_uri="v", result_digest="e" * 64)


def fleet_history(index: Index, now: datetime, *, days: int = 40) -> dict[str, str]:
    """Fill an index; the newest run of each model, by model.

    `calm` is healthy; `shifted` changed revision, library, device and level half way and is healthy; `sick` loops since
    today and its gate fails; `silent` was heard of five days ago; `broken` cannot be measured; `mute` has a metric that
    is never measured; `young` has a single run.
    """
    keys: dict[str, str] = {}
    middle = now - (days // 2) * DAY
    with index.transaction("test") as connection:
        for day in range(days, -1, -1):
            at = now - day * DAY - timedelta(minutes=10)
            wave = 2.0 + 0.05 * math.sin(day * 1.7)
            later = at >= middle
            keys["calm"] = night(connection, "calm", at, entropy=wave)
            keys["shifted"] = night(
                connection, "shifted", at, entropy=wave + (0.8 if later else 0.0), identity=NEWER if later else IDENTITY
            )
            if day <= 10:
                keys["sick"] = night(connection, "sick", at, entropy=wave, sick=2 if day == 0 else 0)
                keys["mute"] = night(connection, "mute", at, entropy=None)
            if 5 <= day <= 10:
                keys["silent"] = night(connection, "silent", at, entropy=wave)
        night(connection, "broken", now - timedelta(minutes=70))
        keys["broken"] = night(connection, "broken", now - timedelta(minutes=10), failed="no disk <b>left</b>")
        keys["young"] = night(connection, "young", now - timedelta(minutes=10), valid=None)
        key = ("sick", SUITE, "repetition-loop")
        state = lock_states(connection, [key], now)[key]
        since = now - timedelta(hours=1)
        save_state(connection, replace(state, standing="fail", told="fail", since=since, run_key=keys["sick"]))
    return keys
