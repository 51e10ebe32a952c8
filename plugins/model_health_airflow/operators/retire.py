"""The operator that takes away what sinks still show of models, suites and gates that are no longer configured.

Owns how a sink that does not answer becomes a red task. What is taken away is the library's matter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from model_health.errors import BadInput, ModelHealthError
from model_health_airflow.operators.evaluate_gates import failed

if TYPE_CHECKING:
    from airflow.sdk import Context

progress = logging.getLogger("model_health_airflow.progress")


class RetireOperator(BaseOperator):
    """Take away from each enabled sink what is no longer configured; a second time there is nothing to take.

    While the configuration is broken, or no model is enabled, nothing is taken away and the task is skipped: what is
    broken for an hour is not retired, and the run of the broken model says what is wrong. Returns (XCom) how many
    things were taken away, by sink.
    """

    ui_color = "#d0e0e3"

    def execute(self, context: Context) -> dict[str, Any]:
        """Take away."""
        from model_health.sinks.retire import retire
        from model_health_airflow.connections import settings_with_connections

        try:
            retired = retire(settings_with_connections())
        except BadInput as error:
            raise AirflowSkipException(f"nothing is taken away: {error}") from None
        except ModelHealthError as error:
            raise failed(error) from None
        for sink, count in retired.taken.items():
            progress.info("%s: %d taken away", sink, count)
        if retired.problems:
            raise AirflowException(f"not taken away: {'; '.join(retired.problems.values())}"[:2000])
        return dict(retired.taken)
