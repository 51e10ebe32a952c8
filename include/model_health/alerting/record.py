"""Records answers of gates and what follows from them: states, history and outbox items, in one transaction.

Owns that order, and which transports a message takes. A message exists exactly if its state changed: either both are
written or neither, and of two evaluators at once the second finds the state changed and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from model_health.alerting.alert import Alert, Excerpt, Links
from model_health.alerting.compose import alert_of, targets_of
from model_health.alerting.links import LinkMaker
from model_health.alerting.state import stale, step
from model_health.alerting.subject import COULD_NOT_JUDGE, Subject, removed, subject_of
from model_health.config.gates import GatesConfig
from model_health.errors import BadInput
from model_health.gates.result import GateResult, GateVerdict
from model_health.store.index import alerts as rows
from model_health.store.index.alerts import AlertState, GateRecord, HistoryEntry
from model_health.store.index.index import Index
from model_health.store.index.outbox import OutboxItem, enqueue

Key = tuple[str, str, str]

Announce = Callable[[Connection, Sequence[GateResult], datetime], Sequence[OutboxItem]]
"""Makes the items that tell others than people what was answered, in the transaction that writes it down."""


@dataclass(frozen=True)
class Said:
    """A change of an alert: sent to `targets`, or only recorded (then `silenced_by` says whose silence, if any)."""

    alert: Alert
    sent: bool
    targets: tuple[str, ...] = ()
    silenced_by: str | None = None


def record(
    index: Index,
    results: Sequence[GateResult],
    config: GatesConfig,
    links: LinkMaker,
    now: datetime,
    *,
    excerpts: Mapping[str, Excerpt] | None = None,
    announce: Announce | None = None,
) -> tuple[Said, ...]:
    """Write down what gates answered, and say what changed.

    Args:
        index: open.
        results: the answers; of one run, or of the clock.
        config: gates.yaml.
        links: builds links.
        now: the present.
        excerpts: text at fault, by gate; left out unless the configuration allows it.
        announce: adds items about the answers themselves. It is not told of answers about an older run than the one
            that was judged last: whoever shows them would go back in time.

    Raises:
        StoreError: the index failed; nothing was recorded or said.
        BadInput: a gate that is neither configured nor built in.
    """
    book = _Book(config, now, dict(excerpts or {}) if config.include_prompt_text else {})
    for result in results:
        book.prepare(result, links)
    with index.transaction("record what gates answered") as connection:
        rows.save_results(connection, [_row(result) for result in results])
        judged = {(one.model, one.suite): one for one in results if one.run_key is not None}
        keys = [*map(_key, results), *((*pair, COULD_NOT_JUDGE) for pair in judged)]
        states = rows.lock_states(connection, keys, now)
        news = [result for result in results if not stale(states[_key(result)], result, now)]
        for result in results:
            recover_after = config.recover_after_runs if result.run_key is not None else 1
            states[_key(result)] = book.settle(connection, states[_key(result)], result, recover_after)
        for pair, newest in judged.items():
            mine = [result for result in results if (result.model, result.suite) == pair]
            answer = _could_not_judge(mine, states, config, newest, now)
            book.settle(connection, states[(*pair, COULD_NOT_JUDGE)], answer, 1)
        if announce is not None:
            enqueue(connection, announce(connection, news, now))
    return tuple(book.said)


def remind(index: Index, config: GatesConfig, links: LinkMaker, now: datetime) -> tuple[Said, ...]:
    """Say what is due without any new answer: renotifications, and what a silence that ended held back.

    Alerts of gates that were removed from the rules end. Raises `StoreError`.
    """
    with index.reading("read the alerts") as connection:
        standing = rows.standing_states(connection)
    book = _Book(config, now, {})
    last = {_state_key(state): GateResult.from_json(state.result) for state in standing if state.result is not None}
    for result in last.values():
        book.prepare(result, links, removed_too=True)
    with index.transaction("record what is due to be said") as connection:
        states = rows.lock_states(connection, list(last), now)
        for key, result in last.items():
            if subject_of(config, result.gate) is None:
                book.settle(connection, states[key], removed(replace(result, at=now))[1], 1)
            else:
                book.settle(connection, states[key], None, 1)
    return tuple(book.said)


class _Book:
    """One pass over some alerts: what it needs to know of each, and what it said."""

    def __init__(self, config: GatesConfig, now: datetime, excerpts: dict[str, Excerpt]) -> None:
        self.config = config
        self.now = now
        self.said: list[Said] = []
        self._excerpts = excerpts
        self._subjects: dict[Key, Subject] = {}
        self._links: dict[Key, Links] = {}

    def prepare(self, result: GateResult, links: LinkMaker, *, removed_too: bool = False) -> None:
        """Look up what a message about this answer would need: inside the transaction nothing else is read."""
        subject = subject_of(self.config, result.gate)
        if subject is None and removed_too:
            subject = removed(result)[0]
        if subject is None:
            raise BadInput("is no configured gate", subject=result.gate)
        self._subjects[_key(result)] = subject
        self._links[_key(result)] = links.links(result, subject.runbook)

    def settle(
        self, connection: Connection, state: AlertState, result: GateResult | None, recover_after: int
    ) -> AlertState:
        """Advance one alert, and record and enqueue what follows; the state after it."""
        silenced_by = self._silence(state)
        after, change = step(
            state,
            result,
            self.now,
            renotify_after=timedelta(hours=self.config.renotify_after_hours),
            silenced=silenced_by is not None,
            recover_after=recover_after,
        )
        rows.save_state(connection, after)
        if change is None:
            return after
        # What is said late is about the last conclusive answer, not about one that says nothing.
        shown = result if result is not None and str(result.verdict) == after.standing else None
        if shown is None and after.result is not None:
            shown = GateResult.from_json(after.result)
        assert shown is not None, "a state only changes with an answer"
        alert = alert_of(change, after, shown, self._subject(shown), self._link(shown), self.now)
        if not alert.resolved and shown.gate in self._excerpts:
            alert = alert.model_copy(update={"excerpt": self._excerpts[shown.gate]})
        targets = targets_of(self.config, alert) if change.send else ()
        said = Said(alert, change.send, targets, None if change.send else silenced_by)
        rows.append_history(connection, _entry(said))
        enqueue(connection, [_item(alert, target, self.now) for target in targets])
        self.said.append(said)
        return after

    def _silence(self, state: AlertState) -> str | None:
        for silence in self.config.silences:
            if silence.covers(self.now, model=state.model, suite=state.suite, gate=state.gate):
                return f"{silence.reason} ({silence.author}, until {silence.end.isoformat()})"
        return None

    def _subject(self, result: GateResult) -> Subject:
        found = self._subjects.get(_key(result)) or subject_of(self.config, result.gate)
        assert found is not None, "prepared, or built in"
        return found

    def _link(self, result: GateResult) -> Links:
        known = self._links.get(_key(result))
        if known is not None:
            return known
        # A built-in gate speaks of the same run as the others.
        others = (links for key, links in self._links.items() if key[:2] == (result.model, result.suite))
        runbook = next(iter(self._links.values()), Links()).runbook or ""
        base = runbook.partition("#")[0]
        return next(others, Links()).model_copy(update={"runbook": f"{base}#{self._subject(result).runbook}"})


def _could_not_judge(
    results: Iterable[GateResult],
    states: Mapping[Key, AlertState],
    config: GatesConfig,
    newest: GateResult,
    now: datetime,
) -> GateResult:
    """The answer of the built-in gate for gates that stay inconclusive; advisory ones may."""
    held = [result for result in results if result.tier != "advisory"]
    longest = max((states[_key(result)].inconclusive_runs for result in held), default=0)
    stuck = [result for result in held if states[_key(result)].inconclusive_runs >= config.inconclusive_runs]
    # Where the runs themselves fail, the gate for that says so; a second alert would be noise.
    failing = any(_measures(config, one) and one.verdict in (GateVerdict.FAIL, GateVerdict.WARN) for one in held)
    verdict = GateVerdict.WARN if stuck else GateVerdict.PASS
    return GateResult(
        gate=COULD_NOT_JUDGE,
        tier="supporting",
        model=newest.model,
        suite=newest.suite,
        verdict=GateVerdict.INCONCLUSIVE if failing and stuck else verdict,
        at=now,
        value=float(longest),
        level=float(config.inconclusive_runs - 1),
        reason=_stuck_reason(stuck, longest),
        run_at=newest.run_at,
        runs=newest.runs[:1],
    )


def _stuck_reason(stuck: Sequence[GateResult], longest: int) -> str:
    if not stuck:
        return "every gate can answer, or has not been silent for long"
    names = ", ".join(result.gate for result in stuck)
    return f"inconclusive for {longest} runs in a row: {names}; {stuck[0].reason}"


def _measures(config: GatesConfig, result: GateResult) -> bool:
    rule = config.rules.get(result.gate)
    return rule is not None and rule.condition == "could_not_measure"


def _key(result: GateResult) -> Key:
    return result.model, result.suite, result.gate


def _state_key(state: AlertState) -> Key:
    return state.model, state.suite, state.gate


def _row(result: GateResult) -> GateRecord:
    return GateRecord(
        model=result.model,
        suite=result.suite,
        gate=result.gate,
        run_key=result.run_key or "",
        at=result.at,
        verdict=str(result.verdict),
        tier=result.tier,
        value=result.value,
        level=result.level,
        reason=result.reason,
        result=result.to_json(),
    )


def _entry(said: Said) -> HistoryEntry:
    alert = said.alert
    return HistoryEntry(
        key=alert.key,
        model=alert.model,
        suite=alert.suite,
        gate=alert.gate,
        kind=alert.kind,
        verdict=str(alert.verdict),
        previous=str(alert.previous),
        at=alert.at,
        run_key=alert.run_key,
        sent=said.sent,
        silenced_by=said.silenced_by,
        targets=said.targets,
        alert=alert.to_json(),
    )


def _item(alert: Alert, target: str, now: datetime) -> OutboxItem:
    # No run key: a newer try of the run takes back its numbers, never what somebody must hear of.
    return OutboxItem(target, "alert", alert.key, alert.to_json(), None, now)
