"""Transient, device, software or weights? A decision table over what replaying again showed.

Owns the table, pure: who replays again, and on what, is not its business. The order is the cheap one: the same device
once more, then the CPU in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class Cause(StrEnum):
    """What a change comes from, as far as replaying again can tell."""

    NOTHING = "nothing"
    TRANSIENT = "transient"
    DEVICE = "device"
    SOFTWARE = "software"
    WEIGHTS = "weights"
    SOFTWARE_OR_WEIGHTS = "software_or_weights"
    UNDECIDED = "undecided"


Again = Literal["agrees", "same", "other"] | None
"""A replay against the baseline: it agrees (identical or equivalent), differs as the first one did (to the bit), or
differs in another way. None: not done."""


@dataclass(frozen=True)
class Replays:
    """What was seen.

    Args:
        differs: whether the first replay was beyond tolerance.
        again: the same device, in a new process.
        elsewhere: the CPU in float32, against the baseline under the tolerance of that change; "same" counts as
            "other" here, since nothing is bit-equal across devices.
        device_kind: of the first replay.
        weights_differ: the digest of the weights in memory is not the baseline's. software_differs: nor are the
            libraries, the driver or the attention backend.
    """

    differs: bool
    again: Again = None
    elsewhere: Again = None
    device_kind: str = "cpu"
    weights_differ: bool = False
    software_differs: bool = False


@dataclass(frozen=True)
class Attribution:
    """The cause, why, and the replay to do next where that would tell more."""

    cause: Cause
    reason: str
    do_next: Literal["replay_again", "replay_on_cpu"] | None = None


def attribute(seen: Replays) -> Attribution:
    """Read the table, top to bottom."""
    if not seen.differs:
        return Attribution(Cause.NOTHING, "the replay is within tolerance")
    if seen.weights_differ and not seen.software_differs:
        return Attribution(Cause.WEIGHTS, "the weights in memory are not those of the baseline")
    if seen.again is None:
        return Attribution(Cause.UNDECIDED, "one replay cannot tell a transient from a change", "replay_again")
    if seen.again == "agrees":
        return Attribution(Cause.TRANSIENT, "the same device agrees with the baseline the second time")
    if seen.device_kind == "cpu":
        return _on_one_machine(seen)
    if seen.elsewhere is None:
        why = "the device differs again" + (", in another way" if seen.again == "other" else ", bit for bit")
        return Attribution(Cause.UNDECIDED, why, "replay_on_cpu")
    if seen.elsewhere == "agrees":
        why = "the CPU agrees with the baseline, the device does not"
        return Attribution(Cause.DEVICE, f"{why}, twice" + (" and differently" if seen.again == "other" else ""))
    return _software_or_weights(seen, "the CPU differs from the baseline as well")


def _on_one_machine(seen: Replays) -> Attribution:
    if seen.again == "other":
        return Attribution(Cause.DEVICE, "two replays of one configuration on this machine differ from each other")
    return _software_or_weights(seen, "this machine differs the same way again")


def _software_or_weights(seen: Replays, why: str) -> Attribution:
    if seen.software_differs and not seen.weights_differ:
        return Attribution(Cause.SOFTWARE, f"{why}; the weights are the baseline's, libraries or kernels are not")
    if seen.weights_differ:
        return Attribution(Cause.SOFTWARE_OR_WEIGHTS, f"{why}; both the weights and the software are others")
    # Same digests, same versions: code outside the key (a patch, a config of the runtime), or this very memory.
    return Attribution(Cause.SOFTWARE_OR_WEIGHTS, f"{why}, although digests and versions are the baseline's")
