"""What the page on self-tests and deliveries says and tabulates. Pure: records in, words and cells out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import wording
from model_health.store.index.outbox import StoredItem
from model_health.store.index.outbox_status import LedgerEntry, TargetCounts
from model_health.store.index.self_tests import SelfTestRecord, TrialRecord

STUCK_AFTER: Final = timedelta(hours=1)
"""What waits for longer is stuck: the warn level of the shipped gate `outbox-stuck`."""
WEEKLY: Final = timedelta(days=8)
"""The Dag `self_test` runs once a week: a day more without one means that it does not run."""
STATE_MARKS: Final = {
    "pending": "… pending",
    "delivering": "▶ delivering",
    "delivered": "✔ delivered",
    "held": "‖ held",
    "withheld": "∅ withheld",
    "dead": "✖ dead",
    "superseded": "↺ superseded",
}
OUTCOME_MARKS: Final = {
    "delivered": "✔ delivered",
    "failed": "▲ failed for now",
    "refused": "✖ refused",
    "lost": "? lost",
    None: "▶ under way",
}
RATES: Final = {
    "same": "Caught, same configuration",
    "loud": "Caught, other configuration",
    "subtle": "Single bits, other configuration",
    "same_placed": "Placed, same configuration",
    "placed": "Placed, other configuration",
    "before": "Tokenizer and template refused",
    "loops": "Loops flagged",
    "false_alarms": "False alarms",
}
"""The rates of a self-test that its history shows, in this order; all but the last are better when larger."""


# ---------------------------------------------------------------------------------------------------------- delivery
def target_state(found: TargetCounts, now: datetime) -> str:
    """How a target stands, worst first."""
    if found.dead:
        return "✖ given up"
    if any(_older(moment, now) for moment in (found.oldest_pending_at, found.oldest_held_at)):
        return "▲ stuck"
    return "… waiting" if found.pending or found.states["held"] else "✔ all delivered"


def troubles(counts: Sequence[TargetCounts], now: datetime) -> list[str]:
    """What is wrong with deliveries and what to do, one sentence per target and trouble, worst first."""
    found = []
    for one in counts:
        if one.dead:
            retry = f"model-health outbox retry --target {one.target}"
            what = "1 delivery was" if one.dead == 1 else f"{one.dead} deliveries were"
            found.append((0, f"{one.target}: {what} given up; `{retry}` tries again."))
        if _older(one.oldest_pending_at, now):
            waits = "1 delivery waits" if one.pending == 1 else f"{one.pending} deliveries wait"
            found.append((1, f"{one.target}: {waits}, the oldest for {_age(one.oldest_pending_at, now)}."))
        if _older(one.oldest_held_at, now):
            says = f"{one.states['held']} are held for {_age(one.oldest_held_at, now)}: nobody validated their runs."
            found.append((2, f"{one.target}: {says}"))
    return [text for _, text in sorted(found)]


def target_rows(counts: Sequence[TargetCounts], now: datetime) -> list[dict[str, Any]]:
    """One row per target."""
    return [
        {
            "Target": one.target,
            "State": target_state(one, now),
            "Waiting": one.pending,
            "Oldest waits": _age(one.oldest_pending_at, now),
            "Held": one.states["held"],
            "Oldest held": _age(one.oldest_held_at, now),
            "Given up": one.dead,
            "Withheld": one.states["withheld"],
            "Delivered": one.states["delivered"],
            "Failed alerts (24 h)": one.failed_notifications,
        }
        for one in counts
    ]


def item_rows(items: Sequence[StoredItem]) -> list[dict[str, Any]]:
    """One row per item of the outbox; never a payload."""
    return [
        {
            "State": STATE_MARKS[item.state],
            "Target": item.target,
            "Kind": item.kind,
            "Made": item.created_at,
            "Tries": item.attempts,
            "Next try": item.next_attempt_at,
            "Delivered": item.delivered_at,
            "Last error": item.last_error,
            "Run": item.run_key,
            "Key": item.key,
            "Item": item.id,
        }
        for item in items
    ]


def ledger_rows(entries: Sequence[LedgerEntry]) -> list[dict[str, Any]]:
    """One row per try to deliver."""
    return [
        {
            "Started": entry.started_at,
            "Outcome": OUTCOME_MARKS[entry.outcome],
            "Target": entry.target,
            "Kind": entry.kind,
            "Took (s)": None if entry.ended_at is None else (entry.ended_at - entry.started_at).total_seconds(),
            "Error": entry.error,
            "Key": entry.key,
            "Item": entry.item_id,
        }
        for entry in entries
    ]


# ---------------------------------------------------------------------------------------------------------- self-test
def self_test_label(record: SelfTestRecord) -> str:
    """A self-test in the list to choose from."""
    mark = "✔ passed" if record.passed else "✖ fell short"
    return f"{record.started_at:%Y-%m-%d %H:%M} · {record.model}/{record.suite} · {mark}"


def self_test_address(record: SelfTestRecord) -> str:
    """A self-test's name in the page's address."""
    return f"{record.model}/{record.suite}/{record.started_at:%Y%m%dT%H%M%S.%fZ}"


def read_address(text: str) -> tuple[str, str, datetime] | None:
    """Model, suite and start; None for what is no such name."""
    parts = text.split("/")
    try:
        started = datetime.strptime(f"{parts[-1]}+0000", "%Y%m%dT%H%M%S.%fZ%z")
    except ValueError:
        return None
    return (parts[0], parts[1], started) if len(parts) == 3 else None


def shortfalls(record: SelfTestRecord) -> list[str]:
    """The promises that were not kept, in words."""
    return shortfalls_of(record.figures)


def shortfalls_of(figures: Mapping[str, Any]) -> list[str]:
    """The same from the figures of a self-test; none where an older one kept no such words."""
    found = figures.get("shortfalls", ())
    return [str(one) for one in found] if isinstance(found, list | tuple) else []


def rate(figures: Mapping[str, Any], name: str) -> tuple[int, int] | None:
    """Hits and tries of a rate; None where an older self-test does not have it, or nothing was tried."""
    found = figures.get(name)
    if not isinstance(found, Mapping) or not found.get("of"):
        return None
    return int(found["hits"]), int(found["of"])


def rate_text(figures: Mapping[str, Any], name: str) -> str:
    """A rate as `hits of tries`."""
    found = rate(figures, name)
    return "not measured" if found is None else f"{found[0]} of {found[1]}"


def history_rows(records: Sequence[SelfTestRecord]) -> list[dict[str, Any]]:
    """One row per self-test, newest first, with every rate as `hits of tries`."""
    return [
        {
            "Result": "✔ passed" if record.passed else "✖ fell short",
            "Started": record.started_at,
            "Model": record.model,
            "Suite": record.suite,
            **{title: rate_text(record.figures, name) for name, title in RATES.items()},
            "Precision": record.dtype,
            "Device": record.device,
            "Reduced": record.reduced,
            "Took": wording.span(timedelta(seconds=record.wall_seconds)),
            "Libraries": ", ".join(f"{name} {version}" for name, version in sorted(record.libraries.items())),
        }
        for record in records
    ]


def history_points(records: Sequence[SelfTestRecord]) -> list[dict[str, Any]]:
    """Every rate of every self-test with its interval, for a chart."""
    points = []
    for record in records:
        for name, title in RATES.items():
            found = record.figures.get(name)
            counted = rate(record.figures, name)
            if counted is None or not isinstance(found, Mapping):
                continue
            hits, of = counted
            whole = hits == (0 if name == "false_alarms" else of)
            points.append(
                {
                    "started": record.started_at,
                    "rate": title,
                    "counted": f"{hits} of {of}",
                    "low": found.get("low"),
                    "high": found.get("high"),
                    "reading": "as it should be" if whole else "not all",
                }
            )
    return points


def verdict_of(trial: TrialRecord) -> str:
    """What a trial came to: a fault wants to be heard of, a harmless change does not."""
    if trial.raised is None:
        return "∅ not applicable"
    if trial.role == "fault":
        return "✔ caught" if trial.raised else "✖ missed"
    return "✖ false alarm" if trial.raised else "✔ quiet"


def trial_rows(trials: Sequence[TrialRecord], *, wrong_only: bool = False) -> list[dict[str, Any]]:
    """The detection table: one row per trial, those that went wrong first."""
    rows = [
        {
            "Result": verdict_of(trial),
            "Trial": trial.name,
            "Role": trial.role,
            "Kind": trial.kind,
            "Configuration": trial.configuration,
            "Answer": trial.answer,
            "True place": trial.place,
            "Named place": trial.attributed,
            "Placed": {"right": "✔ right", "wrong": "✖ wrong", "unnamed": "? unnamed"}.get(trial.placement),
            "Nights until told": trial.delay_nights,
            "Of its limit": trial.ratio,
            "Why": trial.missed or trial.reason,
        }
        for trial in trials
    ]
    bad = ("✖ missed", "✖ false alarm")

    def went_wrong(row: dict[str, Any]) -> bool:
        return row["Result"] in bad or row["Placed"] == "✖ wrong"

    return sorted((row for row in rows if went_wrong(row) or not wrong_only), key=lambda row: not went_wrong(row))


def _older(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and now - moment > STUCK_AFTER


def _age(moment: datetime | None, now: datetime) -> str | None:
    return None if moment is None else wording.span(now - moment)
