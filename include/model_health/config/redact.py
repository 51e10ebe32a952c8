"""Takes credentials out of text that is kept or shown. Knows what a secret looks like, not where secrets come from."""

from __future__ import annotations

import re
from collections.abc import Iterable

_HIDDEN = "[hidden]"
# What a token looks like by itself, then what stands behind a telling name, then the user part of an address.
_SECRETS = (
    re.compile(r"\b(?:hf_|sk-|ghp_|github_pat_|xox[abp]-|AKIA)[A-Za-z0-9_\-]{8,}"),
    re.compile(r"(?i)(?<=\bbearer )[A-Za-z0-9._~+/=\-]{8,}"),
    re.compile(
        r"(?i)(?<![A-Za-z0-9])((?:[a-z0-9]+[_-])*(?:api[_-]?key|app[_-]?key|access[_-]?key|secret|token|password|passwd)"
        r"[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&]{6,})"
    ),
    re.compile(r"(?<=://)[^/\s@]+(?=@)"),
)
# A webhook's path and a query are as good as a password. Scheme, host and port are what a person needs.
_ADDRESS = re.compile(r"(?i)\b(https?://)(?:[^/\s@\"'<>]*@)?([^/?#\s\"'<>]+)([/?#][^\s\"'<>)\]]*)?")


def redact(line: str) -> str:
    """Return `line` with whatever looks like a credential replaced by `[hidden]`."""
    for pattern in _SECRETS:
        line = pattern.sub(lambda found: (found[1] if found.lastindex else "") + _HIDDEN, line)
    return line


def hide(text: str, secrets: Iterable[str]) -> str:
    """`text` without these secrets, whatever they look like; the longest first, as one may be part of another."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    return text


def redact_line(text: str, secrets: Iterable[str] = ()) -> str:
    """`redact`, and the text on one line with every web address cut down to its host, and without known `secrets`."""

    def host(found: re.Match[str]) -> str:
        rest = found[3] or ""
        return found[1] + found[2] + ("/..." if len(rest) > 1 else rest)

    return redact(_ADDRESS.sub(host, " ".join(hide(text, secrets).split())))
