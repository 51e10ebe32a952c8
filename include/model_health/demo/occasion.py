"""One model in one night: everything that follows from the two, and nothing that is written anywhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from model_health.demo.plan import DemoModel, Effect, Setup, device_day
from model_health.demo.telemetry import number_of
from model_health.demo.texts import SUITE
from model_health.report.manifest import AirflowIds
from model_health.store.names import RunFolder


def pinned(*parts: object) -> str:
    """A digest of made-up content, the same for the same parts."""
    return f"sha256:{hashlib.sha256(repr(parts).encode()).hexdigest()}"


@dataclass(frozen=True)
class Occasion:
    """A night of a model. `day` counts from the first of `days`."""

    model: DemoModel
    day: int
    days: int
    seed: int
    started: datetime

    @property
    def run_id(self) -> str:
        """As the scheduler names runs."""
        return f"scheduled__{self.started.isoformat()}"

    @property
    def airflow(self) -> AirflowIds:
        """The task that would have run it."""
        return AirflowIds(dag_id="run_canaries", run_id=self.run_id, task_id="run", try_number=1)

    @property
    def folder(self) -> RunFolder:
        """Where it lies in the store."""
        return RunFolder.of(self.model.name, SUITE, self.run_id)

    @cached_property
    def effect(self) -> Effect:
        """What the night adds to a healthy one."""
        return self.model.effect(self.day, self.days)

    @cached_property
    def setup(self) -> Setup:
        """On what the model runs."""
        return self.model.setup(self.day, self.days)

    @property
    def reason(self) -> str | None:
        """Why it could not be measured."""
        return self.model.fails(self.day, self.days)

    @property
    def silent(self) -> bool:
        """Whether the model has stopped reporting."""
        return self.day >= self.days - self.model.ends

    @property
    def dies(self) -> bool:
        """Whether its run began and was never heard of again: the first one of the silence."""
        return self.silent and self.day == self.days - self.model.ends

    @property
    def invalid(self) -> bool:
        """Whether its reports are found invalid."""
        return self.model.spoils and self.day == device_day(self.days)

    @property
    def keeps_reports(self) -> bool:
        """Whether its reports are kept: of the first night, of every second month, of the last ones, of incidents."""
        last = self.days - self.model.ends - 1
        return self.day == 0 or self.day > last - 5 or self.day % 61 == 0 or self.effect.incident

    def random(self, what: int) -> np.random.Generator:
        """Numbers of this night; `what` tells one use of them from another."""
        return np.random.default_rng([self.seed, number_of(self.model.name), self.day, what])

    @cached_property
    def seconds_each(self) -> float:
        """Seconds per output token: a level, and noise with a tail."""
        return self.model.per_token * self.effect.latency * float(self.random(0).lognormal(0.0, 0.05))

    @cached_property
    def seconds_first(self) -> float:
        """Seconds to the first token."""
        return self.seconds_each * 6.0 * float(self.random(1).lognormal(0.0, 0.12))

    @property
    def revision(self) -> str:
        """A made-up commit."""
        return pinned(self.model.name, "revision", self.setup.revision).removeprefix("sha256:")[:40]
