"""The mark of what was made up, for a demonstration or a benchmark: in the names of its models, and in its reports.

A name goes wherever rows and reports go, so nothing that was made up can be taken for a measurement.
"""

from __future__ import annotations

from typing import Final

from model_health.report.facts import TraceWarning

PREFIX: Final = "synthetic-"
NOTICE: Final = "Synthetic data: made up by `model-health demo`. No model ran."
WARNING: Final = TraceWarning(code="synthetic", message=NOTICE)
"""What every made-up report carries."""


def is_synthetic(model_name: str) -> bool:
    """Whether a model of this name was made up: a page that shows it says so."""
    return model_name.startswith(PREFIX)
