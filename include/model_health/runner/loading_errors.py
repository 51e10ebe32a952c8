"""Says in one line what transformers, the hub client and safetensors say in many.

Knows which exceptions these libraries raise while they load, and what each means to the person who wrote the
configuration. An exception that is not listed here is a fault of ours and passes through with its traceback.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError  # an error's name; nothing is opened

import torch
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError

from model_health.errors import ConfigError, CouldNotMeasure, ModelHealthError, ModelSourceError

_BACKEND = re.compile(
    r"attn_implementation|attention implementation|scaled_dot_product_attention|flash.?attention", re.I
)
_CUSTOM_CODE = re.compile(r"trust_remote_code", re.I)

# What malformed files make these libraries raise (a config field of the wrong kind surfaces as any of them).
_MALFORMED = (
    ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError, ImportError, NotImplementedError,
    OverflowError, EOFError, struct.error, SafetensorError, StrictDataclassError, UnpicklingError,
)  # fmt: skip


@contextmanager
def explained(subject: str, *, what: str, backend: str = "auto", hint: str = "") -> Iterator[None]:
    """Turn what loading raises into our errors.

    Args:
        subject: the hub id, folder or file being loaded.
        what: what is loaded (`config`, `tokenizer`, `weights`), for the message.
        backend: the attention backend that was asked for.
        hint: what to do if the files are at fault.
    """
    try:
        yield
    except ModelHealthError:
        raise
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise CouldNotMeasure(
            f"does not fit into memory: {first_line(error)}", subject=subject, hint="a smaller dtype or another device"
        ) from error
    except (OSError, HFValidationError) as error:
        raise _missing(error, subject, what) from error
    except _MALFORMED as error:
        raise _malformed(error, subject, what, backend, hint) from error


def _missing(error: Exception, subject: str, what: str) -> ModelSourceError:
    """A file that is not there: the hub client's own error is the cause of the OSError that transformers raises."""
    causes = list(_chain(error))
    for kind, reason, hint in (
        (HFValidationError, "is not a hub id", "give owner/name, or set source.path for a folder"),
        (GatedRepoError, "is gated on the hub, and this machine's token has no access", "request access, set HF_TOKEN"),
        (RepositoryNotFoundError, "is not on the hub, or is private", "check source.hub"),
        (RevisionNotFoundError, "has no such revision on the hub", "check source.revision"),
        # A local miss is also an EntryNotFoundError, so it comes first.
        (
            OfflineModeIsEnabled,
            f"its {what} is not in the local cache, and the hub client is offline",
            "go online once",
        ),
        (
            LocalEntryNotFoundError,
            f"its {what} is not in the local cache, and the hub was not reached",
            "go online once",
        ),
        (EntryNotFoundError, f"holds no {what} that can be used", "safetensors weights and config.json are needed"),
        (HfHubHTTPError, f"the hub did not answer for its {what}", "try again later"),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return ModelSourceError(reason, subject=subject, hint=hint)
    if any(isinstance(cause, PermissionError) for cause in causes):
        return ModelSourceError(f"no permission to read its {what} or to write the cache", subject=subject)
    return ModelSourceError(f"its {what} cannot be loaded: {first_line(error)}", subject=subject)


def _malformed(error: Exception, subject: str, what: str, backend: str, hint: str) -> ModelHealthError:
    text = str(error)
    if backend != "auto" and _BACKEND.search(text):
        return ConfigError(
            f"is not available for this model: {first_line(error)}",
            subject=f"attention_backend {backend!r} of {subject}",
            hint="auto takes the best that works here",
        )
    if _CUSTOM_CODE.search(text):
        return ModelSourceError(
            "brings code of its own, which is run only if trust_remote_code is true",
            subject=subject,
            hint="read it first",
        )
    if isinstance(error, json.JSONDecodeError):
        return ModelSourceError(f"its {what} is not valid JSON: {first_line(error)}", subject=subject, hint=hint)
    return ModelSourceError(f"its {what} cannot be loaded: {first_line(error)}", subject=subject, hint=hint)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first sentence or two of an exception's text, on one line and not longer than a line."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = f"missing key {text}" if isinstance(error, KeyError) else text
    cut = text if len(text) <= 240 else text[:240].rsplit(" ", 1)[0] + " ..."
    return cut.rstrip(".: ")
