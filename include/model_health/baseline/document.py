"""What a baseline says besides its arrays: where it comes from, its key, the healthy runs behind it. Typed JSON.

Knows the fields and their rules, not where a baseline lies nor how its arrays are packed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, Self

from pydantic import AwareDatetime, Field, FiniteFloat, JsonValue, StringConstraints, model_validator

from model_health.baseline.key import ReplayKey
from model_health.baseline.observations import Kind
from model_health.report.base import Frozen
from model_health.report.manifest import AirflowIds, Manifest

FORMAT: Final = "1.0.0"

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Who = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class Provenance(Frozen):
    """Who did something to a baseline and why: a person (`by`), or a Dag run on behalf of one."""

    by: Who
    reason: Reason
    airflow: AirflowIds | None = None


class HealthyRun(Frozen):
    """One accepted run: what its prompts raised and how long they took. Latencies are seconds, null where unknown."""

    run_id: str
    manifest_uri: str
    manifest_digest: str
    started_at: AwareDatetime
    batch_size: int | None = None
    flags: dict[str, tuple[str, ...]]
    generated_tokens: dict[str, int]
    entropy_bits_mean: dict[str, FiniteFloat | None]
    time_to_first_token_seconds: dict[str, FiniteFloat | None]
    time_per_output_token_seconds: dict[str, FiniteFloat | None]

    @classmethod
    def of(cls, manifest: Manifest, uri: str, digest: str) -> HealthyRun:
        """The run that a manifest describes."""
        entries = manifest.prompts
        return cls(
            run_id=manifest.run_id,
            manifest_uri=uri,
            manifest_digest=digest,
            started_at=manifest.started_at,
            flags={entry.prompt_id: tuple(sorted(entry.flags)) for entry in entries},
            generated_tokens={entry.prompt_id: entry.generated_tokens for entry in entries},
            entropy_bits_mean={entry.prompt_id: entry.entropy_bits_mean for entry in entries},
            time_to_first_token_seconds={entry.prompt_id: entry.time_to_first_token_seconds for entry in entries},
            time_per_output_token_seconds={entry.prompt_id: entry.time_per_output_token_seconds for entry in entries},
        )


class ItemEntry(Frozen):
    """One item, and how many rows of the arrays are its own."""

    item_id: str
    prompt_id: str
    kind: Kind
    group: str
    context: int = Field(ge=1)
    tokens: int = Field(ge=1)
    sketched: int = Field(ge=1)
    decoder_start: int = Field(ge=0)


class BaselineDocument(Frozen):
    """A baseline without its arrays.

    Args:
        model_name, suite: whose baseline it is, by their names in the configuration.
        created_at, provenance: when, by whom and why it was made. Who *promoted* it is in the promotion.
        key: under what the reference replay happened.
        state_names, items: of the reference replay, in the order of the arrays.
        arrays_digest: `sha256:...` of the stored arrays.
        replays, reproducible: how often the reference was replayed, and whether bits were equal each time; null where
            it was replayed once, so that nobody can tell.
        cpu_seconds, wall_seconds: cost of the reference replay.
        runs: the healthy runs behind it, newest first. The newest one's tokens are the continuations.
        agreeing: per prompt, how many of the runs generated the same tokens as the newest.
        tolerances: what `baseline.tolerance` learned; null where it was not asked to.
    """

    format: Literal["1.0.0"] = FORMAT
    model_name: str
    suite: str
    created_at: AwareDatetime
    provenance: Provenance
    key: ReplayKey
    state_names: tuple[str, ...]
    items: Annotated[tuple[ItemEntry, ...], Field(min_length=1)]
    arrays_digest: str
    replays: int = Field(ge=1)
    reproducible: bool | None
    cpu_seconds: FiniteFloat
    wall_seconds: FiniteFloat
    runs: Annotated[tuple[HealthyRun, ...], Field(min_length=1)]
    agreeing: dict[str, int]
    tolerances: JsonValue = None

    @model_validator(mode="after")
    def _told_apart(self) -> Self:
        if len({item.item_id for item in self.items}) != len(self.items):
            raise ValueError("an item is given twice")
        if (self.reproducible is None) != (self.replays == 1):
            raise ValueError("reproducible is known exactly where there was more than one replay")
        return self

    def flag_counts(self, flag: str) -> tuple[int, int]:
        """How many generations of the healthy runs raised a flag, and how many there were."""
        seen = [flags for run in self.runs for flags in run.flags.values()]
        return sum(flag in flags for flags in seen), len(seen)

    def latencies(self, name: Literal["time_to_first_token_seconds", "time_per_output_token_seconds"]) -> list[float]:
        """One latency of every healthy generation that knows it, in seconds."""
        tables: list[Mapping[str, float | None]] = [getattr(run, name) for run in self.runs]
        return [value for table in tables for value in table.values() if value is not None]
