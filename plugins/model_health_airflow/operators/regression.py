"""The operator that settles a night: the models that were compared in one Dag run are screened together.

Owns how that becomes a task's state. Statistics and policy are the library's matter; `EvaluateGatesOperator` judges and
tells afterwards.
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


class SettleNightOperator(BaseOperator):
    """Give every comparison of this Dag run its final verdict. Returns (XCom) how many there were, by verdict."""

    ui_color = "#fff2cc"

    def execute(self, context: Context) -> dict[str, Any]:
        """Settle."""
        from model_health.delivery.verdicts import announce_night
        from model_health.gates.night import settle_night

        instance = context["ti"]
        try:
            settled = settle_night(instance.dag_id, instance.run_id, announce=announce_night())
        except ModelHealthError as error:
            raise failed(error) from None
        summed = settled.summary()
        progress.info("%d compared: %s", summed["compared"], summed["counts"])
        return summed
