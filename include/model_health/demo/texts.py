"""What the made-up models are asked and say: words are their tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

SUITE: Final = "nightly"
SUITE_VERSION: Final = "1.0.0"
VOCABULARY: Final = 256
"""Width of the distributions. Ids beyond the known words are words with a number."""
END: Final = "<end>"


@dataclass(frozen=True)
class CanaryText:
    """A prompt, what a healthy model answers, and the phrase that a looping one falls into."""

    id: str
    group: str
    question: str
    answer: str
    phrase: str


PROMPTS: Final = (
    CanaryText(
        "capital",
        "facts",
        "Which city is the capital of Norway , and on which fjord does it lie ?",
        "The capital of Norway is Oslo . It lies at the northern end of the Oslofjord , and about seven hundred"
        " thousand people live there .",
        "of the city of the north",
    ),
    CanaryText(
        "square",
        "arithmetic",
        "What is nine times nine ? Say how you found it .",
        "Nine times nine is eighty-one . Ten times nine would be ninety , and one nine less is eighty-one .",
        "nine times nine is",
    ),
    CanaryText(
        "lighthouse",
        "stories",
        "Tell in two sentences how the lighthouse keeper spent the night of the storm .",
        "The keeper climbed the stairs every hour to trim the lamp , while waves beat against the door . At dawn he saw"
        " two boats at anchor in the bay and slept at last .",
        "and the lamp and the waves",
    ),
    CanaryText(
        "loop",
        "code",
        "Write a line of Python that adds the numbers from one to ten .",
        "total = sum ( range ( 1 , 11 ) ) # the upper end of a range is left out , so eleven is right",
        "range ( 1 , 11 )",
    ),
    CanaryText(
        "summary",
        "reading",
        "Bees visit flowers for nectar and carry pollen along . Sum this up in one sentence .",
        "While bees look for nectar they carry pollen from flower to flower , which is how many plants bear fruit .",
        "from flower to flower",
    ),
)


@cache
def words() -> tuple[str, ...]:
    """Every known word once, by token id; the end comes first."""
    texts = (text for one in PROMPTS for text in (one.question, one.answer, one.phrase))
    return (END, *sorted({word for text in texts for word in text.split()}))


@cache
def _ids() -> dict[str, int]:
    return {word: number for number, word in enumerate(words())}


def tokens(text: str) -> list[int]:
    """The token ids of a text of known words."""
    return [_ids()[word] for word in text.split()]


def decode(token: int) -> str:
    """The text of a token, with the space before it."""
    known = words()
    if token == 0:
        return ""
    return f" {known[token]}" if token < len(known) else f" word{token}"
