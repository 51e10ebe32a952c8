"""What secrets look like in text: the forms that their issuers give them, and long random values of telling names.

Owns the patterns. They are put together from parts, so that this file holds nothing that looks like a secret.
"""

from __future__ import annotations

import math
import re
from collections import Counter

FORMS = {
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
    "AWS access key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})\b"),
    "Slack token or webhook": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}|hooks\.slack\.com/services/T[A-Z0-9]{6,}/"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{30,}\b"),
    "Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}\b"),
    "JSON web token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
    "PyPI token": re.compile(r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    "credentials in a URL": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s:/@\"'{}<>$*%]+:[^\s:/@\"'{}<>$*%]{6,}@[^\s]"),
}
NAMED = re.compile(
    r"(?i)\b[\w-]*(?:password|passwd|secret|api_?key|token|fernet_key)[\w-]*[\"']?\s*[:=]\s*[\"']([A-Za-z0-9+/_=-]{20,})[\"']"
)
"""A value in quotes, of a name that says what it is."""
RANDOM_BITS = 3.7
"""Entropy per character beyond which a value is no word: English is below, 20 random letters and digits are above."""


def secrets_in(text: str) -> list[tuple[int, str, str]]:
    """Line, kind and text of everything that looks like a secret."""
    found = [(at.start(), kind, at[0]) for kind, form in FORMS.items() for at in form.finditer(text)]
    found += [
        (at.start(), "random value of a telling name", at[1])
        for at in NAMED.finditer(text)
        if entropy(at[1]) > RANDOM_BITS and re.search(r"\d", at[1]) and re.search(r"[A-Za-z]", at[1])
    ]
    return sorted((text.count("\n", 0, start) + 1, kind, seen) for start, kind, seen in found)


def entropy(text: str) -> float:
    """Bits per character (Shannon), of the text's own letters."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())
