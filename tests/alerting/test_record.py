"""From runs in the index to messages at a real webhook: once per change, whoever evaluates, whatever dies."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from model_health.alerting.alert import Excerpt
from model_health.alerting.links import LinkMaker
from model_health.alerting.record import Said, record, remind
from model_health.alerting.transports.registry import open_transport
from model_health.config.gates import GatesConfig
from model_health.config.settings import Settings
from model_health.delivery.deliver import deliver_due
from model_health.errors import BadInput, StoreError
from model_health.gates.evaluate import evaluate
from model_health.gates.result import GateResult
from model_health.store.index import alerts as rows
from model_health.store.index.index import Index
from model_health.store.index.outbox_status import counts
from support.alerts import a_config
from support.configs import make_settings, write_files
from support.gate_runs import HEALTHY, MODEL, NAN, NOON, SUITE, Prompt, failed, measured
from support.webhook import Answer, Webhook

HOUR = timedelta(hours=1)
TITLE = f"{MODEL} / {SUITE}: non-finite"


@dataclass
class World:
    """A project whose model runs hourly, whose gates are judged after each run, and whose outbox is drained then."""

    index: Index
    settings: Settings
    config: GatesConfig
    now: datetime = NOON
    runs: int = 0
    said: list[Said] = field(default_factory=list)

    def run(self, *prompts: Prompt, could_measure: bool = True) -> list[str]:
        """One hour: a run, the gates, a delivery. What was said."""
        self.now += HOUR
        self.runs += 1
        if could_measure:
            measured(self.index, f"r{self.runs}", self.now, prompts)
        else:
            failed(self.index, f"r{self.runs}", self.now)
        return self.judge()

    def judge(self) -> list[str]:
        found = self.look(evaluate(MODEL, SUITE, self.index, list(self.config.rules.values()), self.now))
        self.deliver()
        return found

    def look(self, results: tuple[GateResult, ...], **more: Any) -> list[str]:
        said = record(self.index, results, self.config, self.links(), self.now, **more)
        self.said += said
        return [f"{one.alert.gate} {one.alert.kind}" for one in said if one.sent]

    def remind(self) -> list[str]:
        said = remind(self.index, self.config, self.links(), self.now)
        self.said += said
        self.deliver()
        return [f"{one.alert.gate} {one.alert.kind}" for one in said if one.sent]

    def links(self) -> LinkMaker:
        return LinkMaker(self.index, self.settings, self.config)

    def deliver(self) -> None:
        names = {target for one in self.said for target in one.targets}
        targets = {name: open_transport(name, self.config, self.settings) for name in names}
        deliver_due(self.index, targets, clock=lambda: self.now, rng=Random(0))


def settings_of(home: Path, index_url: str, **variables: str) -> Settings:
    return make_settings(write_files(home, {"models/.keep": ""}), INDEX_URL=index_url, **variables)


@pytest.fixture
def world(index_url: str, tmp_path: Path, webhook: Webhook) -> Iterator[World]:
    settings = settings_of(tmp_path, index_url, SECRETS__TEAM_URL=webhook.url)
    with Index.open(index_url) as index:
        yield World(index, settings, a_config())


def test_a_fault_of_ten_runs_is_sent_once_then_again_when_due_and_once_at_its_end(
    world: World, webhook: Webhook
) -> None:
    world.config = a_config(renotify_after_hours=12.0)
    world.run(HEALTHY)
    for _ in range(10):
        world.run(NAN, HEALTHY)
    assert webhook.texts() == [f"[FAIL] {TITLE} raised"]
    for _ in range(3):
        world.run(NAN, HEALTHY)
    assert webhook.texts()[1:] == [f"[FAIL] {TITLE} still standing"]
    for _ in range(3):
        world.run(HEALTHY)
    assert webhook.texts()[2:] == [f"[RECOVERED] {TITLE} recovered"]


def test_the_message_says_where_to_look(world: World, webhook: Webhook) -> None:
    world.run(NAN, HEALTHY, NAN)
    text = webhook.received[0].json["text"]
    assert "*What:* prompts that raise nan_detected is 2, above 0 in the last run" in text
    assert "*Prompts:* p0, p2" in text
    assert "*Value:* 2 against a level of 0" in text
    assert webhook.received[0].headers["Idempotency-Key"] == world.said[0].alert.key


def test_judging_the_same_run_again_says_nothing_more(world: World, webhook: Webhook) -> None:
    world.run(NAN)
    assert [world.judge() for _ in range(3)] == [[], [], []]
    assert len(webhook.received) == 1


def test_a_webhook_that_is_down_gets_everything_once_in_order_when_it_is_back(world: World, webhook: Webhook) -> None:
    webhook.answers = [Answer(503), Answer(hang_up=True)]
    world.run(NAN)
    world.run(NAN)
    assert webhook.received == []
    world.run(HEALTHY)
    world.now += HOUR
    world.deliver()
    assert webhook.texts() == [f"[FAIL] {TITLE} raised", f"[RECOVERED] {TITLE} recovered"]


def test_a_notification_that_failed_is_counted_and_kept_in_the_ledger(world: World, webhook: Webhook) -> None:
    webhook.answers = [Answer(500), Answer(403, b"invalid_token")]
    world.run(NAN)
    world.now += HOUR
    world.deliver()
    with world.index.reading("count") as connection:
        (team,) = counts(connection, NOON)
    assert (team.target, team.failed_notifications, team.dead) == ("webhook:team", 2, 1)


def evaluator(
    world: World, index_url: str, results: tuple[GateResult, ...], start: threading.Barrier
) -> tuple[Said, ...]:
    """What one of several evaluators says, with a connection of its own."""
    with Index.open(index_url) as mine:
        start.wait(120)
        return record(mine, results, world.config, LinkMaker(mine, world.settings, world.config), world.now)


def test_two_evaluators_at_once_send_one_message(world: World, webhook: Webhook, index_url: str) -> None:
    for number in range(4):
        world.now += HOUR
        measured(world.index, f"both {number}", world.now, [NAN if number % 2 == 0 else HEALTHY])
        results = evaluate(MODEL, SUITE, world.index, list(world.config.rules.values()), world.now)
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as pool:
            tasks = [pool.submit(evaluator, world, index_url, results, start) for _ in range(4)]
            said = [one for task in tasks for one in task.result(60)]
        assert [one.alert.kind for one in said] == ["raised" if number % 2 == 0 else "recovered"]
        world.said += said
    world.deliver()
    assert len(webhook.received) == 4


def test_a_transaction_that_fails_leaves_neither_state_nor_message(
    world: World, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("model_health.alerting.record.enqueue", broken)
        with pytest.raises(StoreError, match="the disk is full"):
            world.run(NAN)
    assert world.judge() == ["non-finite raised"]
    assert len(webhook.received) == 1


SILENCE = {"reason": "the host is moved", "author": "ops", "start": "2026-11-22T12:00:00Z"}


def test_a_silence_holds_messages_back_and_lets_out_what_still_stands(world: World, webhook: Webhook) -> None:
    rules = {"non-finite": {"flags": ["nan_detected"], "fail": 0.0}, "loops": {"flags": ["loop_detected"], "fail": 0.0}}
    world.config = a_config(rules, silences=[{**SILENCE, "end": "2026-11-22T16:30:00Z"}])
    looping = Prompt(flags=("nan_detected", "loop_detected"))
    for prompt in (looping, looping, NAN):
        assert world.run(prompt) == []
    assert webhook.received == []
    recorded = [(one.alert.gate, one.alert.kind, one.silenced_by) for one in world.said]
    why = "the host is moved (ops, until 2026-11-22T16:30:00+00:00)"
    assert recorded == [("non-finite", "raised", why), ("loops", "raised", why), ("loops", "recovered", why)]
    world.now += 2 * HOUR
    assert world.remind() == ["non-finite raised"]
    assert world.remind() == []
    assert webhook.texts() == [f"[FAIL] {TITLE} raised"]


@pytest.mark.parametrize(
    "other", [{"models": "qwen-*"}, {"gates": "loops"}, {"suites": "smoke"}, {"end": "2026-11-22T12:30:00Z"}]
)
def test_a_silence_for_something_else_holds_nothing_back(world: World, other: dict[str, str]) -> None:
    world.config = a_config(silences=[{**SILENCE, "end": "2026-11-23T00:00:00Z", **other}])
    assert world.run(NAN) == ["non-finite raised"]


def test_an_alert_goes_to_every_transport_of_its_routes_once(world: World) -> None:
    world.config = a_config(
        transports={"webhook": {"team": {"url_secret": "team_url"}, "boss": {"url_secret": "team_url"}}},
        routes=[
            {"transports": ["webhook:team"], "tiers": ["critical"]},
            {"transports": ["webhook:boss", "webhook:team"], "models": "smollm2-*"},
            {"transports": ["webhook:boss"], "tiers": ["advisory"]},
        ],
    )
    world.run(NAN)
    assert world.said[0].targets == ("webhook:team", "webhook:boss")


def test_without_a_route_an_alert_is_on_record_all_the_same(world: World, webhook: Webhook) -> None:
    world.config = a_config(routes=[])
    assert world.run(NAN) == ["non-finite raised"]
    assert webhook.received == []
    with world.index.reading("history") as connection:
        (entry,) = rows.history(connection)
    assert (entry.kind, entry.sent, entry.targets) == ("raised", True, ())


def test_gates_that_stay_inconclusive_raise_one_alert_of_their_own(world: World, webhook: Webhook) -> None:
    rules = {
        "non-finite": {"flags": ["nan_detected"], "fail": 0.0},
        "inf": {"flags": ["inf_detected"], "fail": 0.0},
        "fine": {"flags": ["loop_detected"], "fail": 0.0},
        "curious": {"metric": "overhead_ratio", "fail": 2.0, "tier": "advisory"},
    }
    world.config = a_config(rules, inconclusive_runs=3)
    blind = Prompt(undetermined=("nan_detected", "inf_detected"))
    assert [world.run(blind) for _ in range(2)] == [[], []]
    assert [world.judge() for _ in range(2)] == [[], []]
    assert world.run(blind) == ["could-not-judge raised"]
    assert world.run(blind) == []
    (message,) = webhook.received
    assert "inconclusive for 3 runs in a row: non-finite, inf;" in message.json["text"]
    assert "undetermined here" in message.json["text"]
    assert world.run(HEALTHY) == ["could-not-judge recovered"]


def test_runs_that_could_not_be_measured_are_one_alert_not_two(world: World) -> None:
    rules = {
        "non-finite": {"flags": ["nan_detected"], "fail": 0.0},
        "could-not-measure": {"condition": "could_not_measure", "fail": 0.0, "for_runs": 2, "of_last": 3},
    }
    world.config = a_config(rules, inconclusive_runs=3)
    said = [world.run(could_measure=False) for _ in range(6)]
    assert said == [[], ["could-not-measure raised"], [], [], [], []]


def test_an_alert_about_nan_stands_while_the_model_cannot_be_measured(world: World) -> None:
    assert world.run(NAN) == ["non-finite raised"]
    world.run(could_measure=False)
    assert world.run(HEALTHY) == ["non-finite recovered"]


def test_the_alert_of_a_gate_that_was_removed_ends(world: World, webhook: Webhook) -> None:
    world.run(NAN)
    world.config = a_config({"another": {"flags": ["loop_detected"], "fail": 0.0}})
    assert world.remind() == ["non-finite recovered"]
    assert world.remind() == []
    assert "was removed from gates.yaml" in webhook.received[-1].json["text"]


def test_an_answer_of_a_gate_that_nobody_configured_is_refused(world: World) -> None:
    world.run(NAN)
    results = evaluate(MODEL, SUITE, world.index, list(world.config.rules.values()), world.now)
    world.config = a_config({"another": {"flags": ["loop_detected"], "fail": 0.0}})
    with pytest.raises(BadInput, match="non-finite"):
        world.look(results)


EXCERPTS: Mapping[str, Excerpt] = {"non-finite": Excerpt(prompt="Which city hides\x00 the PLANTED?", output="Paris")}


def everything(world: World, webhook: Webhook) -> str:
    with world.index.reading("history") as connection:
        told = str(rows.history(connection)) + str(rows.latest_results(connection))
        told += str(rows.standing_states(connection))
    return told + "".join(one.body.decode() for one in webhook.received)


def test_no_prompt_text_leaves_unless_configured(world: World, webhook: Webhook) -> None:
    world.now += HOUR
    measured(world.index, "r", world.now, [NAN])
    results = evaluate(MODEL, SUITE, world.index, list(world.config.rules.values()), world.now)
    world.look(results, excerpts=EXCERPTS)
    world.deliver()
    assert len(webhook.received) == 1
    assert "PLANTED" not in everything(world, webhook)


def test_prompt_text_stands_in_the_message_where_configured(world: World, webhook: Webhook) -> None:
    world.config = a_config(include_prompt_text=True)
    world.now += HOUR
    measured(world.index, "r", world.now, [NAN])
    results = evaluate(MODEL, SUITE, world.index, list(world.config.rules.values()), world.now)
    world.look(results, excerpts=EXCERPTS)
    world.deliver()
    assert "*Prompt text:* Which city hides the PLANTED?" in webhook.received[0].json["text"]


def test_the_webhook_s_address_is_written_nowhere(
    index_url: str, tmp_path: Path, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path / "home", index_url, SECRETS__TEAM_URL=webhook.url)
    with Index.open(index_url) as index:
        world = World(index, settings, a_config())
        webhook.answers = [Answer(500, webhook.url.encode()), Answer(404, webhook.url.encode()), Answer(hang_up=True)]
        for _ in range(3):
            world.run(NAN)
        with index.reading("ledger") as connection:
            from model_health.store.index.outbox_status import items, ledger

            kept = str(items(connection)) + str(ledger(connection))
        written = everything(world, webhook) + kept + caplog.text + repr(settings) + repr(world.config)
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert "answered 500" in kept
    assert "/services/" not in written
    assert b"/services/" not in files
