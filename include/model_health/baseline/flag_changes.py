"""Did flags appear more often than they vanished, on the same prompts? McNemar's exact test on the discordant pairs.

Owns that test. Prompts that raise a flag both times, or neither time, say nothing of a change: of 24 prompts, perhaps
three remain, and three cannot decide. Then the answer is *inconclusive*, with the number that would.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from model_health.baseline.permutation import fewest_clusters


@dataclass(frozen=True)
class FlagChange:
    """One flag over the prompts of two runs.

    Args:
        appeared, vanished: prompts that raise it only in the new (old) run, in the given order.
        p: one-sided, of as many or more appearances if either direction were as likely; 1 without discordant pairs.
        decided: whether any split of these discordant pairs could reach the level.
        needed: appearances, of `discordant` pairs or of the fewest that can decide, from which it is significant.
    """

    flag: str
    appeared: tuple[str, ...]
    vanished: tuple[str, ...]
    p: float
    decided: bool
    needed: int

    @property
    def discordant(self) -> int:
        """Prompts on which the two runs disagree."""
        return len(self.appeared) + len(self.vanished)

    def worse(self, level: float) -> bool:
        """Whether the flag appears more often than chance has it."""
        return self.p <= level


def flag_change(
    flag: str, prompts: Iterable[str], before: Collection[str], after: Collection[str], *, level: float
) -> FlagChange:
    """Pair the prompts of two runs. `before` and `after` are those that raise the flag without tolerating it.

    A prompt on which the flag could not be determined in either run does not belong into `prompts`.
    """
    from scipy.stats import binomtest

    prompts = tuple(prompts)
    appeared = tuple(prompt for prompt in prompts if prompt in after and prompt not in before)
    vanished = tuple(prompt for prompt in prompts if prompt in before and prompt not in after)
    pairs = len(appeared) + len(vanished)
    p = float(binomtest(len(appeared), pairs, alternative="greater").pvalue) if pairs else 1.0
    fewest = fewest_clusters(level)
    return FlagChange(flag, appeared, vanished, p, pairs >= fewest, appearances_needed(max(pairs, fewest), level=level))


def appearances_needed(discordant: int, *, level: float) -> int:
    """The fewest appearances among so many discordant pairs that are significant; more than `discordant`: none is."""
    from scipy.stats import binom

    # The smallest k with P(X >= k) <= level for X of Binomial(discordant, 1/2).
    return int(binom.isf(level, discordant, 0.5)) + 1
