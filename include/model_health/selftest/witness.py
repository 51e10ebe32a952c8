"""The rest of the suite, as a witness for what few texts do not show: is a fault missed, or does it change no number?

Owns the search: group by group of further texts until one shows the fault; where none does, a plain forward pass over
all texts says whether there was anything to see. Only faults that few texts swallowed pay for it.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_health.baseline.comparison import Comparison
from model_health.baseline.observations import ReplayObservation
from model_health.replay.plan import ReplayItem
from model_health.runner.digests import weights_digest
from model_health.runner.replay_plan import plan_again
from model_health.runner.replay_variants import Variant
from model_health.selftest.fault import Fault
from model_health.selftest.plain import plain_bits
from model_health.selftest.stage import Stage


@dataclass(frozen=True)
class Hearing:
    """What the whole suite says of a fault.

    Args:
        found: the comparison on the group that showed it; None where no text did.
        texts: how many were looked at, those of the stage among them.
        no_number: not one bit of a state or a logit of the model's own forward pass over all texts differs.
        digest_tells: whether the digest of the weights, which is read when a model is loaded, is another one.
    """

    found: Comparison | None
    texts: int
    no_number: bool = False
    digest_tells: bool = False


class Witness:
    """The texts of a suite that the stage left out, with healthy replays of them, made when they are first needed."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        rest, size = sorted(stage.rest, key=lambda item: len(item.fed)), len(stage.items)
        self._groups = [tuple(rest[at : at + size]) for at in range(0, len(rest), size)]
        self._healthy: dict[int, ReplayObservation] = {}
        self._plain: str | None = None

    def asked(self, fault: Fault) -> Hearing:
        """Look for a fault that the texts of the stage do not show, under the baseline's configuration.

        Raises:
            Inapplicable, GenerationError, CaptureError: see `Fault` and `Stage.observe`.
        """
        stage, way, seen = self._stage, Variant("witness"), len(self._stage.items)
        for at, group in enumerate(self._groups):
            # before the fault is put in: a healthy replay that a fault took part in would hide it
            healthy = self._reference(at)
            with fault.injected(stage.subject):
                found = stage.compared(stage.observe(way, plan_again(healthy)), healthy)
            seen += len(group)
            if found.answer != "identical":
                return Hearing(found, seen)
        healthy_bits = self._plain_bits()
        with fault.injected(stage.subject):
            same = self._bits_now() == healthy_bits
            digest = weights_digest(stage.subject.loaded.model)
        return Hearing(None, seen, no_number=same, digest_tells=digest != stage.identity.weights_digest)

    def _reference(self, at: int) -> ReplayObservation:
        if at not in self._healthy:
            self._healthy[at] = self._stage.observe(Variant("witness"), self._groups[at])
        return self._healthy[at]

    def _plain_bits(self) -> str:
        if self._plain is None:
            self._plain = self._bits_now()
        return self._plain

    def _bits_now(self) -> str:
        items: tuple[ReplayItem, ...] = (*self._stage.items, *(item for group in self._groups for item in group))
        return plain_bits(self._stage.subject, items, self._stage.production.batch_size)
