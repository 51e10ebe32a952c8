"""What a benchmark writes down: cells, single runs, and the file that a process leaves behind. Knows no torch.

A *cell* is one point of the matrix (model, batch, prompt, threads). A *block* is what one process measured in one cell:
rounds of interleaved runs, one of each kind per round. Blocks of several processes are merged when they are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from model_health.config.base import ConfigModel
from model_health.config.measure import PRESETS, MeasureSwitches
from model_health.errors import BadInput

Phase = Literal["decode", "prefill", "generate", "total"]
Clock = Literal["cpu", "wall"]
Kind = Literal["plain", "again", "flags", "standard/4", "standard", "full"]
"""`plain` is generate without probes; `again` is a second plain run in the round: its ratio shows the noise.
`standard/4` is `standard` with `every: 4`: layers are looked at on the prefill and on every fourth decode step."""
How = Literal["whole", "lockstep"]
WATCHED: tuple[Kind, ...] = ("flags", "standard/4", "standard", "full")


def switches_of(kind: Kind) -> MeasureSwitches | None:
    """What is measured in runs of a kind; None where nothing watches."""
    if kind == "plain" or kind == "again":
        return None
    return PRESETS["standard"].model_copy(update={"every": 4}) if kind == "standard/4" else PRESETS[kind]


PROFILE = "profile_"
"""How the names of a profile's extras begin: then the cell's shape, then the event."""
PROFILED = "llama-12"
EVENTS: dict[str, str] = {
    "logits": "logits, and the reduction of their blocks",
    "choose": "the chosen token's logit, with blocks of logits that it completes",
    "hidden": "copies of the blocks' outputs",
    "final": "copies of final states",
    "attention": "query rows and masks of attention",
    "reduce": "reduction of collected rows and states",
}

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0.0)]


class Cell(ConfigModel):
    """One point of the matrix. `threads` is the number of CPU threads that torch uses inside an operation."""

    model: str
    batch: Positive
    prompt: Positive
    new_tokens: Positive = 64
    threads: Positive = 1
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    cache: Literal["dynamic", "static"] = "dynamic"

    @property
    def shape(self) -> str:
        """The cell without its model, short enough for a table."""
        extras = [] if self.device == "cpu" else [self.device]
        extras += [] if self.dtype == "float32" else [self.dtype]
        extras += [] if self.cache == "dynamic" else [f"{self.cache} cache"]
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        return ", ".join([f"{self.batch} x {self.prompt} + {self.new_tokens}", threads, *extras])

    @property
    def name(self) -> str:
        """The cell as part of a file's name."""
        size = f"{self.batch}x{self.prompt}x{self.new_tokens}-t{self.threads}"
        rest = [part for part, usual in ((self.device, "cpu"), (self.dtype, "float32"), (self.cache, "dynamic"))
                if part != usual]  # fmt: skip
        return "-".join([self.model, size, *(part.replace(":", "") for part in rest)])


class Span(ConfigModel):
    """How long something took: on the wall, and in CPU time of the whole process (all its threads)."""

    wall: Seconds
    cpu: Seconds


class Run(ConfigModel):
    """One generation. `place` says when in its round it ran.

    `prefill` ends with the first forward pass, probes included; `generate` is the whole call; `assemble` is what
    follows a watched one until its telemetry is on the host. `probe_seconds` is what the probes timed themselves.
    """

    kind: Kind
    round: Annotated[int, Field(ge=0)]
    place: Annotated[int, Field(ge=0)]
    prefill: Span
    generate: Span
    assemble: Span | None = None
    probe_seconds: Seconds | None = None

    def seconds(self, phase: Phase, clock: Clock) -> float:
        """Seconds of one phase. `decode` is what `generate` does after the prefill; `total` includes `assemble`."""
        prefill, generate = getattr(self.prefill, clock), getattr(self.generate, clock)
        after = getattr(self.assemble, clock) if self.assemble is not None else 0.0
        return float({"prefill": prefill, "decode": generate - prefill, "generate": generate,
                      "total": generate + after}[phase])  # fmt: skip


class Peak(ConfigModel):
    """Peak memory of one generation, the counter reset before it; `method` as in `runner.memory`."""

    kind: Kind
    peak_bytes: Positive
    start_bytes: Positive
    method: str


class Machine(ConfigModel):
    """Where it ran. Blocks are merged only where this is equal."""

    system: str
    processor: str
    cores: Positive | None
    memory_bytes: Positive | None
    gpu: str | None = None
    gpu_memory_bytes: Positive | None = None
    driver: str | None = None


class Block(ConfigModel):
    """What one process measured in one cell."""

    schema_version: Literal[1] = 1
    what: Literal["cell"] = "cell"
    made_at: str
    commit: str | None = None
    machine: Machine
    versions: dict[str, str]
    cell: Cell
    how: How = "whole"
    load_average: tuple[float, float, float] | None = None
    """At the start: above the number of cores, somebody else was working on this machine."""
    runs: tuple[Run, ...]
    peaks: tuple[Peak, ...] = ()


def read_json(path: Path) -> str:
    """A result file's text.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"cannot be read: {error}", subject=str(path)) from error


def parse_block(text: str, name: str) -> Block:
    """A block from its JSON.

    Raises:
        BadInput: it is no block of this schema version.
    """
    try:
        return Block.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise BadInput(f"is no benchmark result: {place}: {first['msg']}", subject=name) from error


class Extra(ConfigModel):
    """Something that is not a matter of cells, measured several times: the cost of a suite, a report's size."""

    schema_version: Literal[1] = 1
    what: Literal["extra"] = "extra"
    made_at: str
    commit: str | None = None
    machine: Machine
    versions: dict[str, str]
    name: str
    unit: str
    values: Annotated[tuple[float, ...], Field(min_length=1)]
    about: str


class Extras(ConfigModel):
    """What one process measured besides cells."""

    schema_version: Literal[1] = 1
    what: Literal["extras"] = "extras"
    extras: tuple[Extra, ...]
