"""The price of watching in counted operations, which every machine agrees on: the gate that may fail a build.

Counts are compared with a file of expected ones. What generation needs by itself belongs to transformers and may
change; only what the probes add is held, and only against growing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError

from model_health.bench.counting import Tally
from model_health.bench.machine import versions
from model_health.bench.models import SHAPES, Shape, build_shape, prompt
from model_health.bench.records import WATCHED, Kind, read_json, switches_of
from model_health.bench.single import Work
from model_health.config.base import ConfigModel
from model_health.errors import BadInput
from model_health.metrics.recording import record
from model_health.runner.loading_quiet import quiet_transformers

NEW_TOKENS = 64
"""As many as a canary prompt makes: what is put off to a block of steps, or to the end, is in the sum."""
STEP_SLACK = 2.0
PREFILL_SLACK = 0.05
UPLOAD_SLACK = 0.25
"""By how much what is added may rise: so many a decode step, and this share of a prefill's operations."""

Count = Annotated[float, Field(ge=0.0)]


class Price(ConfigModel):
    """Operations, waits for the device, and uploads of host numbers. Of a preset: those that it adds to plain.

    A decode step's operations are all that follow the prefill until `generate` returns, divided by the steps; its waits
    and uploads are those in the loop, not those at the end.
    """

    prefill_operations: float
    prefill_waits: float
    prefill_uploads: float
    step_operations: float
    step_waits: float
    step_uploads: float


class Counted(ConfigModel):
    """Every case: name -> kind -> price."""

    schema_version: Literal[1] = 1
    what: Literal["operations"] = "operations"
    versions: dict[str, str]
    prices: dict[str, dict[Kind, Price]]


@dataclass(frozen=True)
class Case:
    """A narrow model with the layers, the vocabulary and the attention of a real one: counts do not depend on width."""

    shape: Shape
    padded: bool = False
    cache: str = "dynamic"
    kinds: tuple[Kind, ...] = ("flags", "standard", "full")


def _narrow(name: str, **fields: Any) -> Shape:
    shape = SHAPES[name]
    return Shape(shape.config, shape.model, {**shape.fields, **fields}, shape.about)


_LLAMA = _narrow("llama-12", hidden_size=96, intermediate_size=128)
CASES: Mapping[str, Case] = {
    "llama-12": Case(_LLAMA, kinds=WATCHED),
    "llama-12, padded": Case(_LLAMA, padded=True, kinds=("standard",)),
    "llama-12, static cache": Case(_LLAMA, cache="static", kinds=("standard",)),
    "gpt2-small": Case(_narrow("gpt2-small", n_embd=96)),
    "t5-small": Case(_narrow("t5-small", d_model=64, d_kv=16, d_ff=128)),
}


def count_case(case: Case) -> dict[Kind, Price]:
    """The price of plain generation, and what each preset adds to it."""
    model = build_shape(case.shape)
    inputs = prompt(model, 2, 24)
    if case.padded:
        first = slice(None, 9) if not model.config.is_encoder_decoder else slice(15, None)
        inputs["attention_mask"][1, first] = 0
    work = Work(model, inputs, NEW_TOKENS, case.cache)
    plain = _count(work, "plain")
    found: dict[Kind, Price] = {"plain": plain}
    for kind in case.kinds:
        watched = _count(work, kind)
        found[kind] = Price(**{name: getattr(watched, name) - getattr(plain, name) for name in Price.model_fields})
    return found


def _count(work: Work, kind: Kind) -> Price:
    marks: list[tuple[int, int, int]] = []
    model: Any = work.model
    with torch.inference_mode(), quiet_transformers():
        switches = switches_of(kind)
        with nullcontext() if switches is None else record(model, switches):
            _generate(model, work.arguments(), marks)
    prefill, *steps, end = marks
    assert len(steps) == work.new_tokens - 1, f"{len(marks) - 1} forward passes are not one a token"
    return Price(
        prefill_operations=prefill[0],
        prefill_waits=prefill[1],
        prefill_uploads=prefill[2],
        step_operations=(end[0] + sum(step[0] for step in steps)) / len(steps),
        step_waits=sum(step[1] for step in steps) / len(steps),
        step_uploads=sum(step[2] for step in steps) / len(steps),
    )


def _generate(model: Any, arguments: dict[str, Any], marks: list[tuple[int, int, int]]) -> None:
    with Tally() as tally:
        # registered after the probes, so it runs after them
        handle = model.register_forward_hook(lambda *_: marks.append(tally.mark()))
        try:
            model.generate(**arguments)
        finally:
            handle.remove()
        marks.append(tally.mark())


def count_all() -> Counted:
    """Every case of `CASES`."""
    return Counted(versions=versions(), prices={name: count_case(case) for name, case in CASES.items()})


def read_expected(path: Path) -> Counted:
    """The committed counts.

    Raises:
        BadInput: the file is missing, or is none of ours.
    """
    try:
        return Counted.model_validate_json(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"holds no counts: {first['msg']}", subject=str(path)) from error


def worse(expected: Counted, found: Counted) -> Iterator[str]:
    """A line for each price that rose by more than its slack, or that nobody expected. Waits have no slack."""
    for case, prices in found.prices.items():
        for kind in [kind for kind in prices if kind != "plain"]:
            known = expected.prices.get(case, {}).get(kind)
            if known is None:
                yield f"{case}, {kind}: no count is expected; write the file again"
            else:
                yield from (f"{case}, {kind}: {line}" for line in _rises(known, prices[kind]))


def _rises(known: Price, now: Price) -> Iterator[str]:
    limits = {
        "step_operations": known.step_operations + STEP_SLACK,
        "step_waits": known.step_waits,
        "prefill_operations": known.prefill_operations + max(known.prefill_operations * PREFILL_SLACK, STEP_SLACK),
        "prefill_waits": known.prefill_waits,
        "step_uploads": known.step_uploads + UPLOAD_SLACK,
        "prefill_uploads": known.prefill_uploads + STEP_SLACK,
    }
    for name, limit in limits.items():
        value = getattr(now, name)
        if value > limit:
            what = name.replace("_", " ")
            yield f"{what} added: {value:g}, expected {getattr(known, name):g}, at most {limit:g}"


def table(counted: Counted) -> Iterator[str]:
    """The counts as lines of a Markdown table."""
    names = list(Price.model_fields)
    yield "| model | runs | " + " | ".join(name.replace("_", " ") for name in names) + " |"
    yield "|---|---|" + "---:|" * len(names)
    for case, prices in counted.prices.items():
        for kind, price in prices.items():
            sign = "" if kind == "plain" else "+"
            numbers = " | ".join(f"{sign}{getattr(price, name):.4g}" for name in names)
            yield f"| {case} | {kind} | {numbers} |"
