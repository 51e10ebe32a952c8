"""A self-test from beginning to end: load, learn what is harmless, put every fault in, judge, and see all is as before.

Owns the order of the stages, and that what was put in was taken back: by the digest of all weights, and by a last
replay that must repeat the first bit for bit.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from time import perf_counter, process_time

from model_health.baseline.distances import FAMILIES
from model_health.baseline.key import ReplayShape
from model_health.baseline.numbers import Numbers
from model_health.baseline.observations import ReplayObservation, bit_equal
from model_health.config.gates import GatesConfig, load_gates
from model_health.config.load import load_project
from model_health.config.settings import Settings
from model_health.errors import CouldNotMeasure, SuiteError
from model_health.runner.digests import chat_template_digest, tokenizer_digest, weights_digest
from model_health.runner.loading import load_model
from model_health.runner.prompts import tokenize
from model_health.runner.replay_variants import Variant
from model_health.selftest.catalogue import loop_faults, replay_faults, text_faults, wanted
from model_health.selftest.fault import Fault
from model_health.selftest.faults_text import TextFault
from model_health.selftest.generation import ForcedLoop, generate
from model_health.selftest.harmless import harmless_trials, healthy_trials
from model_health.selftest.judge import inapplicable, judge, witnessed
from model_health.selftest.request import SelfTestRequest
from model_health.selftest.result import Configuration, HarmlessTrial, SelfTest, Trial
from model_health.selftest.stage import Stage
from model_health.selftest.subject import Inapplicable, Subject
from model_health.selftest.witness import Witness
from model_health.selftest.years import year_of

Say = Callable[[str], None]
Clock = Callable[[], datetime]
LOOP_PROMPTS = 3


def self_test(request: SelfTestRequest, settings: Settings, *, say: Say, clock: Clock) -> SelfTest:
    """Test the monitor on one model and suite.

    Raises:
        BadInput: the request, the configuration or the model's files are wrong.
        CouldNotMeasure: the healthy model could not be replayed, or a fault could not be taken back.
    """
    project, gates, started = load_project(settings), load_gates(settings), clock()
    config = project.get_model(request.model)
    if request.dtype is not None:
        config = config.model_copy(update={"dtype": request.dtype})
    suite = project.get_suite(request.suite or config.suites[0])
    say(f"{config.name}: loading {config.source.label}")
    loaded = load_model(config, settings, progress=say)
    wall, cpu = perf_counter(), process_time()
    subject = Subject(loaded, suite, request.seed)
    family = config.family or str(loaded.model.config.model_type)
    thresholds = project.thresholds_for(config.name, family)
    stage = Stage(subject, gates.regression.statistics, thresholds, items=request.items, longest=request.longest)
    if not stage.reference.is_finite:
        raise CouldNotMeasure("the healthy model is not finite under replay", subject=config.name)
    trials: list[Trial] = []
    for trial in _trials(stage, request, gates):
        trials.append(trial)
        if len(trials) % 10 == 0:
            say(f"{config.name}: {len(trials)} trials, {perf_counter() - wall:.0f} s")
    say(f"{config.name}: harmless changes")
    harmless = () if request.faults else tuple(harmless_trials(stage, settings, reduced=request.reduced))
    say(f"{config.name}: {request.healthy} healthy replays")
    healthy: list[HarmlessTrial] = []
    recorded: list[Numbers] = []
    for one, numbers in healthy_trials(stage, settings, request.healthy, reduced=request.reduced):
        healthy.append(one)
        recorded += [] if numbers is None else [numbers]
        if len(healthy) % 20 == 0:
            say(f"{config.name}: {len(healthy)} healthy replays, {perf_counter() - wall:.0f} s")
    last = stage.observe(Variant("last"))
    restored = weights_digest(loaded.model) == stage.identity.weights_digest and bit_equal(stage.repeated, last)
    return SelfTest(
        model=config.name,
        suite=f"{suite.name} {suite.version}",
        dtype=stage.reference.key.dtype,
        device=stage.reference.key.device_name or stage.reference.key.device_kind,
        machine=stage.reference.key.platform or platform.machine(),
        libraries=dict(stage.reference.key.libraries),
        started_at=started.isoformat(timespec="seconds"),
        seed=request.seed,
        items=len(stage.items),
        tokens=stage.reference.tokens,
        golden_clusters=stage.golden_clusters,
        same=_words(stage.reference.key.shape, stage.reference.key.attention_backend),
        other=_words(stage.healthy_other.key.shape, stage.healthy_other.key.attention_backend),
        floors=_floors(stage),
        trials=tuple(trials),
        harmless=harmless,
        healthy=tuple(healthy),
        year=year_of(recorded, gates.regression.statistics, dtype=stage.reference.key.dtype, seed=request.seed),
        texts=len(stage.items) + len(stage.rest),
        longest=request.longest,
        cpu_seconds=process_time() - cpu,
        wall_seconds=perf_counter() - wall,
        replay_cpu_seconds=stage.repeated.cpu_seconds,
        restored=restored,
        reduced=request.reduced,
    )


def _trials(stage: Stage, request: SelfTestRequest, gates: GatesConfig) -> Iterator[Trial]:
    witness = Witness(stage)
    for fault in replay_faults(stage.subject, reduced=request.reduced):
        if wanted(fault.name, fault.kind, request.faults):
            yield from replay_trials(stage, fault, witness)
    for text in text_faults():
        if wanted(text.name, text.kind, request.faults):
            yield text_trial(stage, text)
    for loop in loop_faults():
        if wanted(loop.name, loop.kind, request.faults):
            yield loop_trial(stage, loop, nights=nights_to_fail(gates))


def replay_trials(stage: Stage, fault: Fault, witness: Witness) -> Iterator[Trial]:
    """Put a fault in, replay and compare; under the baseline's configuration, then afresh under another one.

    What the few texts do not show under the baseline's own configuration, down to the last bit, is looked for in all.
    """
    same = _replay_trial(stage, fault, "same", Variant("same"), stage.reference)
    yield _asked_again(stage, fault, same, witness) if same.applicable and same.inert else same
    yield _replay_trial(stage, fault, "other", *stage.elsewhere(fault))


def _replay_trial(stage: Stage, fault: Fault, name: Configuration, way: Variant, healthy: ReplayObservation) -> Trial:
    try:
        with fault.injected(stage.subject):
            found, inert = stage.examined(way, healthy)
    except Inapplicable as why:
        return inapplicable(fault, name, str(why))
    place, excuse = fault.place(stage.subject), fault.excuse(stage.subject)
    return judge(fault, name, found, place=place, excuse=excuse, inert=inert)


def _asked_again(stage: Stage, fault: Fault, fewer: Trial, witness: Witness) -> Trial:
    said, seen = witness.asked(fault), None
    if said.found is not None:
        place, excuse = fault.place(stage.subject), fault.excuse(stage.subject)
        seen = judge(fault, "same", said.found, place=place, excuse=excuse, inert=False)
    return witnessed(fewer, seen, said)


def text_trial(stage: Stage, fault: TextFault) -> Trial:
    """What the key says of another tokenizer or template, and how many prompts it would have changed."""
    try:
        tokenizer = fault.tokenizer(stage.subject)
    except Inapplicable as why:
        return Trial(fault.name, fault.kind, "same", applicable=False, reason=str(why))
    key = replace(
        stage.reference.key,
        tokenizer_digest=tokenizer_digest(tokenizer),
        chat_template_digest=chat_template_digest(tokenizer),
    )
    found = stage.compared(replace(stage.repeated, key=key))
    loaded = stage.subject.loaded
    try:
        asked = tokenize(stage.subject.suite, replace(loaded, tokenizer=tokenizer))
        healthy = tokenize(stage.subject.suite, loaded)
        moved = sum(one.token_ids != other.token_ids for one, other in zip(asked, healthy, strict=True))
        effect = f"{moved} of {len(asked)} prompts become other tokens"
    except SuiteError as error:
        effect = str(error)
    caught = found.answer not in ("identical", "equivalent")
    return Trial(
        fault=fault.name,
        kind=fault.kind,
        configuration="same",
        answer=str(found.answer),
        detected=caught,
        delay_nights=1 if caught else None,
        reason=f"{found.reason}; {effect}",
        missed=None if caught else found.reason,
    )


def loop_trial(stage: Stage, fault: ForcedLoop, *, nights: int | None) -> Trial:
    """Generate with a forced loop, and look for the flag on prompts that do not raise it without."""
    subject, prompts = stage.subject, stage.prompts[:LOOP_PROMPTS]
    try:
        with fault.injected(subject):
            faulty = generate(subject, prompts, fault.tokens, stage.thresholds)
    except Inapplicable as why:
        return inapplicable(fault, "generation", str(why))
    healthy = generate(subject, prompts, fault.tokens, stage.thresholds)
    clean = [at for at, one in enumerate(healthy) if not one.findings.loops]
    if not clean:
        return inapplicable(fault, "generation", "every prompt that was tried runs in loops without it")
    found = [loop.period for at in clean for loop in faulty[at].findings.loops[:1]]
    caught = len(found) == len(clean)
    named = f"loops of period {', '.join(map(str, sorted(set(found)))) or 'none'}"
    reason = f"{named} found on {len(found)} of {len(clean)} prompts that are free of loops without it"
    return Trial(
        fault=fault.name,
        kind=fault.kind,
        configuration="generation",
        answer="broken" if caught else None,
        detected=caught,
        delay_nights=nights if caught else None,
        reason=reason,
        missed=None if caught else reason,
    )


def nights_to_fail(gates: GatesConfig) -> int | None:
    """Runs that the gate on loops waits for before it fails; None where no gate looks at them."""
    rules = [rule for rule in gates.rules.values() if "loop_detected" in rule.flags and rule.fail is not None]
    return min((1 if rule.page_immediately else rule.for_runs for rule in rules), default=None)


def _floors(stage: Stage) -> dict[str, float]:
    """The largest healthy distances, but those of another dtype."""
    floors = [floor for floor in stage.tolerance.floors if "dtype" not in floor.axes]
    return {family: max(floor.families[family] for floor in floors) for family in FAMILIES}


def _words(shape: ReplayShape, backend: str) -> str:
    return f"batch {shape.batch_size}, padding {shape.padding_side}, {backend}, threads {shape.threads}"
