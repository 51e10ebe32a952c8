"""Keeps Python's cycle collector out of work that makes many objects and no cycles.

A report is some ten thousand objects that all die with it. Each few hundred of them wake the collector, which then
looks through everything that torch and transformers hold: more time than the report itself needs.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No automatic collection inside; afterwards it is as it was. Objects without cycles are freed all the same."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
