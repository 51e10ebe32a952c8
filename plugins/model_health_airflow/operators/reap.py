"""The operator that turns runs whose process died without a word into runs that could not be measured.

Owns how that becomes a task's state. Which runs those are is the library's matter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from model_health.errors import ModelHealthError
from model_health_airflow.operators.evaluate_gates import failed

if TYPE_CHECKING:
    from airflow.sdk import Context

progress = logging.getLogger("model_health_airflow.progress")


class ReapOperator(BaseOperator):
    """Reap dead runs; a second time there is nothing to reap. Returns (XCom) how many were dead, and how many lived."""

    ui_color = "#d9d2e9"

    def execute(self, context: Context) -> dict[str, Any]:
        """Reap."""
        from model_health.runner.reap import reap

        try:
            found = reap()
        except ModelHealthError as error:
            raise failed(error) from None
        for key in found.reaped:
            progress.warning("%s could not be measured: its process died without a word", key)
        return {"reaped": len(found.reaped), "alive": len(found.alive)}
