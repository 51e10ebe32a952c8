"""The operator that forgets old runs, as the Dag run's params or the settings say.

Owns how that becomes a task's state. What is old, and what stays all the same, is the library's matter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from model_health.errors import ModelHealthError
from model_health_airflow.operators.evaluate_gates import failed

if TYPE_CHECKING:
    from airflow.sdk import Context

progress = logging.getLogger("model_health_airflow.progress")


class PruneOperator(BaseOperator):
    """Prune; skipped where nothing says what is old. Returns (XCom) how many runs went, and what kept the others."""

    ui_color = "#d9d9d9"

    def execute(self, context: Context) -> dict[str, Any]:
        """Prune."""
        from model_health.baseline.prune import prune
        from model_health.config.settings import load_settings

        params = context["params"]
        try:
            settings = load_settings()
            known = params.get("days"), params.get("runs"), settings.retention_days, settings.retention_runs
            if all(value is None for value in known):
                raise AirflowSkipException("nothing says what is old: set MODEL_HEALTH_RETENTION_DAYS")
            found = prune(
                days=params.get("days"), runs=params.get("runs"), delete=bool(params.get("delete")), settings=settings
            )
        except ModelHealthError as error:
            raise failed(error) from None
        summed = found.summary()
        progress.info("%d runs %s; kept: %s", summed["runs"], "went" if found.done else "would go", summed["kept"])
        return summed
