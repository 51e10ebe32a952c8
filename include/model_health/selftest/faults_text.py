"""Faults before the model: a stale tokenizer, a wrong chat template. Weights and code are as they should be.

What a replay feeds is the baseline's own tokens, so replay cannot see these. The key can: it holds a digest of the
tokenizer and of the template, and a run under another one is refused as *not comparable*.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from transformers import PreTrainedTokenizerBase

from model_health.selftest.subject import Inapplicable, Subject

_PLAIN = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


@dataclass(frozen=True)
class TextFault(ABC):
    """One fault of how text becomes tokens."""

    name: ClassVar[str]
    kind: ClassVar[str] = "tokens"

    @abstractmethod
    def tokenizer(self, subject: Subject) -> PreTrainedTokenizerBase:
        """A copy of the subject's tokenizer that has the fault.

        Raises:
            Inapplicable: this tokenizer cannot have it.
        """


@dataclass(frozen=True)
class StaleTokenizer(TextFault):
    """The tokenizer lacks the last merge that it should know, as one from before its last training."""

    name: ClassVar[str] = "stale tokenizer"

    def tokenizer(self, subject: Subject) -> PreTrainedTokenizerBase:
        """See `TextFault`."""
        from tokenizers import Tokenizer

        changed: Any = copy.deepcopy(subject.loaded.tokenizer)
        backend = getattr(changed, "backend_tokenizer", None)
        rules = None if backend is None else json.loads(backend.to_str())
        merges = None if rules is None else rules["model"].get("merges")
        if not merges:
            raise Inapplicable("its tokenizer has no merges")
        del merges[len(merges) // 2 :]
        changed._tokenizer = Tokenizer.from_str(json.dumps(rules))
        return changed  # type: ignore[no-any-return]


@dataclass(frozen=True)
class WrongTemplate(TextFault):
    """Chats are rendered as plain lines `role: content`."""

    name: ClassVar[str] = "wrong chat template"

    def tokenizer(self, subject: Subject) -> PreTrainedTokenizerBase:
        """See `TextFault`."""
        if not getattr(subject.loaded.tokenizer, "chat_template", None):
            raise Inapplicable("its tokenizer has no chat template")
        changed = copy.deepcopy(subject.loaded.tokenizer)
        changed.chat_template = _PLAIN
        return changed
