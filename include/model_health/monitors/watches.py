"""What is to be watched, in no tool's language: one `Watch` per gate rule, and one per way in which we go blind.

Owns the reading of gate rules as signals: which published series carries a gate's value, and whether runs or the clock
judge it. It knows neither PromQL nor Datadog, and holds no level: those are the rules' own, and "any at all".

A rule over several flags asks for prompts that raise any of them. Series count each flag by itself, so a monitor sees
the largest of the counts: exact for "any prompt at all", else a lower bound that never pages where the gate would not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_health.alerting.subject import BUILT_IN, COULD_NOT_JUDGE
from model_health.catalog.loader import catalogue
from model_health.catalog.metric import Metric
from model_health.catalog.published import LAST_SUCCESS, OverPrompts
from model_health.config.alerting import Tier
from model_health.config.gates import GateRule, GatesConfig
from model_health.config.monitors import Severity
from model_health.gates.judge import subject_of
from model_health.gates.rules import check_rule

RUN_ENDED = "run_ended_timestamp_seconds"


@dataclass(frozen=True)
class OverPromptsValue:
    """A prompt metric over all prompts of a run; silent where less than `min_measured` of them has a value."""

    metric: Metric
    over: OverPrompts
    min_measured: float


@dataclass(frozen=True)
class FlaggedPrompts:
    """How many prompts (or which fraction of them) raise a flag that they do not tolerate."""

    metric: Metric
    flags: tuple[str, ...]
    fraction: bool


@dataclass(frozen=True)
class RunValue:
    """A metric of the run as a whole; `inverted` is 1 - value, where 1 is the good news."""

    metric: Metric
    inverted: bool = False


@dataclass(frozen=True)
class ReportInvalid:
    """A metric of the operation with the labels of a run, which no end of a run comes with."""

    metric: Metric


@dataclass(frozen=True)
class BaselineVerdict:
    """A gate's own answer about the newest comparison with a baseline, by model and suite; -1 where it cannot tell.

    1 and 2 lie beyond every level that such a gate may have for warn and fail, and only there.
    """

    metric: Metric
    gate: str


@dataclass(frozen=True)
class Age:
    """Seconds since a moment that a metric holds."""

    metric: Metric


@dataclass(frozen=True)
class Overdue:
    """Seconds since a moment that only some models have, such as those that were compared.

    Whoever cannot tell an age, or knows only what is there, takes the gate's own answer from `verdict`.
    """

    metric: Metric
    verdict: Metric
    gate: str


@dataclass(frozen=True)
class Heartbeat:
    """Seconds since a moment of the installation as a whole; its absence says that nobody watches."""

    metric: Metric


@dataclass(frozen=True)
class Operation:
    """A metric of Model Health itself, one value per delivery target."""

    metric: Metric


@dataclass(frozen=True)
class Verdict:
    """A gate's own answer, held for some runs."""

    metric: Metric
    equals: float
    runs: int


Signal = (
    OverPromptsValue
    | FlaggedPrompts
    | RunValue
    | ReportInvalid
    | BaselineVerdict
    | Age
    | Overdue
    | Heartbeat
    | Operation
    | Verdict
)


@dataclass(frozen=True)
class Level:
    """Beyond which value a watch is breached, and what that is called."""

    severity: Severity
    value: float


@dataclass(frozen=True)
class Watch:
    """One thing to watch.

    Args:
        name: of the gate, or of what went blind; a slug.
        signal: what is looked at.
        subject: the same in words, such as `max entropy_bits_max`.
        levels: most severe first.
        below: whether less is worse.
        for_runs, of_last: as in the gate rule.
        at_once: whether the newest run alone is enough for the most severe level.
        recover_after: how many runs within the level in a row end an alert.
        models, suites: shell patterns.
        tier, owner, runbook, reason: as in the gate rule.
    """

    name: str
    signal: Signal
    subject: str
    levels: tuple[Level, ...]
    tier: Tier
    owner: str
    runbook: str
    reason: str
    below: bool = False
    for_runs: int = 1
    of_last: int = 1
    at_once: bool = False
    recover_after: int = 1
    models: str = "*"
    suites: str = "*"

    @property
    def by_run(self) -> bool:
        """Whether it is judged by runs: it has a value per model, suite and run."""
        return isinstance(self.signal, OverPromptsValue | FlaggedPrompts | RunValue | ReportInvalid | BaselineVerdict)

    @property
    def relation(self) -> str:
        """`above` or `below`."""
        return "below" if self.below else "above"


def watches(gates: GatesConfig) -> tuple[Watch, ...]:
    """Everything that is to be watched, in the order of the file, then what no gate can see.

    Raises:
        ConfigError: a rule's metric is not one that can be judged.
    """
    return (*(_of_rule(rule, gates.recover_after_runs) for rule in gates.rules.values()), *_operational(gates))


def runbook_anchors(all_watches: Iterable[Watch]) -> frozenset[str]:
    """The sections that RUNBOOK.md must have."""
    return frozenset(watch.runbook for watch in all_watches)


def _of_rule(rule: GateRule, recover_after: int) -> Watch:
    check_rule(rule)
    by_severity: tuple[tuple[Severity, float | None], ...] = (("critical", rule.fail), ("warning", rule.warn))
    return Watch(
        name=rule.name,
        signal=_signal(rule),
        subject=_subject(rule),
        levels=tuple(Level(severity, value) for severity, value in by_severity if value is not None),
        below=rule.direction == "below",
        for_runs=rule.for_runs,
        of_last=rule.of_last,
        at_once=rule.page_immediately,
        recover_after=1 if rule.by_clock else recover_after,
        models=rule.models,
        suites=rule.suites,
        tier=rule.tier,
        owner=rule.owner,
        runbook=rule.runbook,
        reason=rule.reason,
    )


def _signal(rule: GateRule) -> Signal:
    metrics = catalogue()
    if rule.condition == "could_not_measure":
        return RunValue(metrics["run_measured"], inverted=True)
    if rule.condition == "report_invalid":
        return ReportInvalid(metrics["report_invalid"])
    if rule.by_comparison:
        return BaselineVerdict(metrics["gate_verdict"], rule.name)
    if rule.condition == "no_report":
        # Only a run that measured, and whose reports are valid, moves this: it is the last success.
        return Age(metrics[LAST_SUCCESS])
    if rule.condition == "no_comparison":
        return Overdue(metrics["comparison_completed_timestamp_seconds"], metrics["gate_verdict"], rule.name)
    if rule.condition == "no_self_test":
        return Overdue(metrics["self_test_completed_timestamp_seconds"], metrics["gate_verdict"], rule.name)
    if rule.condition == "no_check":
        return Heartbeat(metrics["freshness_checked_timestamp_seconds"])
    if rule.condition == "outbox_stuck":
        return Operation(metrics["outbox_oldest_pending_seconds"])
    if rule.flags:
        flags = tuple(str(flag) for flag in rule.flags)
        return FlaggedPrompts(metrics["prompts_flagged_untolerated"], flags, rule.aggregate == "fraction")
    metric = metrics[rule.metric or ""]
    if metric.scope == "run":
        return RunValue(metric)
    over: OverPrompts = "mean" if rule.aggregate == "mean" else "min" if rule.aggregate == "min" else "max"
    return OverPromptsValue(metric, over, rule.min_measured)


def _subject(rule: GateRule) -> str:
    words = {
        "no_report": "the time since the last valid run",
        "no_comparison": "the time since the last settled comparison",
        "no_self_test": "the time since the last self-test",
        "no_check": "the time since the clock was looked at",
        "outbox_stuck": "the oldest undelivered item's wait",
    }
    return words.get(rule.condition or "", subject_of(rule))


def _operational(gates: GatesConfig) -> tuple[Watch, ...]:
    """How Model Health itself goes blind. No gate sees these: a gate's own answer is what is missing."""
    metrics = catalogue()
    undecided = BUILT_IN[COULD_NOT_JUDGE]
    return (
        Watch(
            name=undecided.gate,
            signal=Verdict(metrics["gate_verdict"], equals=-1.0, runs=gates.inconclusive_runs),
            subject="the gate's answer",
            levels=(Level("warning", -1.0),),
            tier=undecided.tier,
            owner=undecided.owner,
            runbook=undecided.runbook,
            reason=undecided.reason,
        ),
        Watch(
            name="dead-letters",
            signal=Operation(metrics["outbox_dead"]),
            subject="the number of items that were given up",
            levels=(Level("warning", 0.0),),
            tier="supporting",
            owner="model-health",
            runbook="dead-letters",
            reason="What was given up is in no dashboard and no inbox until somebody retries it.",
        ),
        Watch(
            name="notifications-failed",
            signal=Operation(metrics["notifications_failed"]),
            subject="the number of failed notifications of the last 24 hours",
            levels=(Level("warning", 0.0),),
            tier="supporting",
            owner="model-health",
            runbook="notifications-failed",
            reason="An alert that reaches nobody is no alert.",
        ),
    )
