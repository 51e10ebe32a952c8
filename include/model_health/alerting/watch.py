"""The calls that a scheduler's task makes: judge one model's newest run, look at the clock, note a task that failed.

Owns the order (read, judge, locate, record, say) and what of it a task hands on. Sends nothing: messages wait in the
outbox. Knows nothing of any scheduler beyond the names that it is told.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_health.alerting.compose import excerpts_of
from model_health.alerting.expected import last_look, what_is_expected
from model_health.alerting.links import LinkMaker
from model_health.alerting.record import Announce, Said, record, remind
from model_health.alerting.subject import TASK_FAILED
from model_health.config.gates import Condition, GatesConfig
from model_health.config.load import load_project
from model_health.config.settings import Settings, load_settings
from model_health.gates.evaluate import evaluate
from model_health.gates.freshness import EXPECTED, Expected, judge_check, judge_expected, judge_outbox
from model_health.gates.locate import Locator
from model_health.gates.result import GateResult, GateVerdict, RunEvidence, overall
from model_health.gates.rules import load_rules
from model_health.store.index.alerts import states_of_gate
from model_health.store.index.index import Index, utc_now
from model_health.store.index.outbox_status import counts
from model_health.store.index.records import RunStatus
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore

Clock = Callable[[], datetime]
MAX_REASON = 160
MAX_SUMMARY = 4000
"""Bytes of a summary as JSON. What does not fit is in the index."""


@dataclass(frozen=True)
class Judgement:
    """What gates answered, and what was said of it."""

    model: str
    suite: str
    verdict: GateVerdict
    results: tuple[GateResult, ...]
    said: tuple[Said, ...] = ()

    def summary(self) -> dict[str, Any]:
        """For XCom: names, counts, verdicts, and the gates that did not pass, worst first, in at most `MAX_SUMMARY`."""
        bad = sorted((one for one in self.results if one.verdict is not GateVerdict.PASS), key=_worst_first)
        not_passed = [{"gate": one.gate, "verdict": str(one.verdict), "reason": one.reason[:MAX_REASON]} for one in bad]
        summed = {
            "model": self.model,
            "suite": self.suite,
            "verdict": str(self.verdict),
            "gates": len(self.results),
            "counts": {str(verdict): sum(one.verdict is verdict for one in self.results) for verdict in GateVerdict},
            "not_passed": not_passed,
            "alerts_sent": sum(said.sent for said in self.said),
            "alerts_recorded": len(self.said),
        }
        while not_passed and len(json.dumps(summed)) > MAX_SUMMARY:
            not_passed.pop()
        return summed


def judge_runs(
    model: str,
    suite: str,
    *,
    settings: Settings | None = None,
    write: bool = True,
    announce: Announce | None = None,
    clock: Clock = utc_now,
) -> Judgement:
    """Judge the newest runs of a model on a suite.

    Args:
        model: a configured model.
        suite: a configured canary suite.
        settings: read from the environment if None.
        write: record the answers and say what changed; False only looks.
        announce: tells sinks what was answered, in the same transaction.
        clock: the present, in UTC.

    Raises:
        BadInput: no such model or suite, or gates.yaml is wrong.
        StoreError: the index failed.
    """
    settings = settings or load_settings()
    config = load_rules(settings)
    project = load_project(settings)
    found, wanted = project.get_model(model), project.get_suite(suite)
    now = clock()
    with Index.open(settings.index_url, clock=clock) as index:
        limits = project.thresholds_for(found.name, found.family)
        store = ReportStore.open(settings.store_uri)
        locator = Locator(index, store, mid_layer_ratio=limits.mid_layer_l2_ratio)
        rules = tuple(config.rules.values())
        figures = config.regression.statistics
        results = evaluate(found.name, wanted.name, index, rules, now, locator=locator, statistics=figures)
        said: tuple[Said, ...] = ()
        if write:
            excerpts = excerpts_of(results, locator) if config.include_prompt_text else {}
            links = LinkMaker(index, settings, config)
            said = record(index, results, config, links, now, excerpts=excerpts, announce=announce)
    return Judgement(found.name, wanted.name, overall(results), results, said)


def look_at_the_clock(
    *, settings: Settings | None = None, announce: Announce | None = None, clock: Clock = utc_now
) -> Judgement:
    """Judge what the clock judges for every enabled model, say what is due, and what a silence held back.

    Args:
        settings: read from the environment if None.
        announce: tells sinks what was answered, in the same transaction.
        clock: the present, in UTC.

    Raises:
        BadInput: the configuration is wrong.
        StoreError: the index failed.
    """
    settings = settings or load_settings()
    config = load_rules(settings)
    project = load_project(settings)
    pairs = [(model.name, suite) for model in project.enabled_models for suite in model.suites]
    rules = tuple(config.rules.values())
    now = clock()
    with Index.open(settings.index_url, clock=clock) as index:
        expected = what_is_expected(rules, pairs, index, settings.store_uri, now)
        first = _first_looked(index, config)
        results = tuple(
            result
            for condition, found in expected.items()
            for result in judge_expected(rules, condition, found, first, now)
        )
        with index.reading("look at the outbox") as connection:
            targets = counts(connection, now)
        oldest = {one.target: one.oldest_pending_at for one in targets if one.oldest_pending_at is not None}
        held = {one.target: one.oldest_held_at for one in targets if one.oldest_held_at is not None}
        stuck = judge_outbox(rules, oldest, now, held=held)
        looked = judge_check(rules, last_look(rules, index), now)
        results = (*results, *stuck, *looked, *_forgotten(index, config, expected, now))
        links = LinkMaker(index, settings, config)
        recorded = record(index, results, config, links, now, announce=announce)
        said = (*recorded, *remind(index, config, links, now))
    return Judgement("all", "all", overall(results), results, said)


def note_task(
    model: str,
    suite: str,
    run_id: str,
    reason: str | None,
    *,
    settings: Settings | None = None,
    clock: Clock = utc_now,
) -> tuple[Said, ...]:
    """Note that a task which measures failed (`reason`), or succeeded (None), by the same way as any gate's answer.

    A task that failed *because* its run was measured and found unhealthy, or was recorded as not measured, is left to
    the gates: they know more.

    Raises:
        StoreError: the index failed.
        BadInput: gates.yaml is wrong.
    """
    settings = settings or load_settings()
    config = load_rules(settings)
    now = clock()
    folder = RunFolder.of(model, suite, run_id)
    with Index.open(settings.index_url, clock=clock) as index:
        run = index.run(folder.key)
        recorded = run is not None and run.status is not RunStatus.STARTED
        failed = reason is not None and not recorded
        result = GateResult(
            gate=TASK_FAILED,
            tier="critical",
            model=model,
            suite=suite,
            verdict=GateVerdict.FAIL if failed else GateVerdict.PASS,
            at=now,
            value=None,
            level=None,
            reason=f"the task failed and left no record of its run: {reason}" if failed else "the task left its record",
            run_at=run.started_at if run is not None else None,
            runs=(RunEvidence(folder.key, None, reason, "fail"),) if failed else (),
        )
        return record(index, (result,), config, LinkMaker(index, settings, config), now)


def _first_looked(index: Index, config: GatesConfig) -> dict[tuple[str, str, str], datetime]:
    names = [rule.name for rule in config.rules.values() if rule.condition in EXPECTED]
    with index.reading("read the alerts") as connection:
        states = [state for name in names for state in states_of_gate(connection, name)]
    return {(state.model, state.suite, state.gate): state.first_at for state in states}


def _forgotten(
    index: Index, config: GatesConfig, expected: Mapping[Condition, Expected], now: datetime
) -> tuple[GateResult, ...]:
    """The end of alerts about what is not expected of a model and suite any more: nothing will come."""
    ended = []
    with index.reading("read the alerts") as connection:
        for rule in config.rules.values():
            if rule.condition is None or rule.condition not in expected:
                continue
            found = expected[rule.condition]
            pairs = {*found.pairs, *found.unknown}
            for state in states_of_gate(connection, rule.name):
                watched = (state.model, state.suite) in pairs and rule.covers(state.model, state.suite)
                if not watched and (state.standing, state.told) != ("pass", "pass"):
                    reason = "the model is not scheduled on this suite any more"
                    passed = GateVerdict.PASS
                    ended.append(
                        GateResult(rule.name, rule.tier, state.model, state.suite, passed, now, None, None, reason)
                    )
    return tuple(ended)


def _worst_first(result: GateResult) -> tuple[int, str]:
    return -result.verdict.severity, result.gate
