"""The operator that tests the monitor itself on one model.

Owns how its end becomes a state of the task. What is put into a model, and what counts as noticed, is not its matter.

    self-test                    task       retried
    all promises kept            success    -
    one is not                   failed     no: the same faults would be missed again
    could not measure            failed     yes
    bad input                    failed     no
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from model_health.errors import ModelHealthError
from model_health_airflow.operators.evaluate_gates import failed
from model_health_airflow.xcom import KEY

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_health.runner.supervise import StopSignal

progress = logging.getLogger("model_health_airflow.progress")


class SelfTestOperator(BaseOperator):
    """Put faults and harmless changes into one model, in a process of its own, and see whether they are told apart.

    Returns (XCom) what was caught of what, and the promises that were not kept.

    Args:
        model: a model of `configs/models/`.
        suite: a suite of `configs/canaries/`; None: the model's first one.
        reduced: each fault in as few layers as possible.
    """

    template_fields: Sequence[str] = ("model", "suite")
    ui_color = "#ead1dc"

    _stop: StopSignal | None = None

    def __init__(self, *, model: str, suite: str | None = None, reduced: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.suite = suite
        self.reduced = reduced

    def execute(self, context: Context) -> dict[str, Any]:
        """Test; the table above says which exception stands for which end."""
        from model_health.runner.supervise import StopSignal
        from model_health.selftest.child import self_test_in_child
        from model_health.selftest.request import SelfTestRequest

        self._stop = StopSignal()
        request = SelfTestRequest(model=self.model, suite=self.suite, reduced=self.reduced)
        try:
            outcome = self_test_in_child(request, on_line=progress.info, stop=self._stop)
        except ModelHealthError as error:
            raise failed(error) from None
        summed = outcome.summary()
        if outcome.shortfalls:
            context["ti"].xcom_push(key=KEY, value=summed)
            raise AirflowFailException(f"the monitor fails its self-test: {'; '.join(outcome.shortfalls)}"[:2000])
        progress.info("%s on %s: every promise is kept", outcome.model, outcome.suite)
        return summed

    def on_kill(self) -> None:
        """Airflow asks the task to stop: end the child."""
        if self._stop is not None:
            self._stop.request("by Airflow: the task was cleared, marked, timed out, or its worker is shutting down")
