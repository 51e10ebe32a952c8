"""The operators that make a baseline, and promote it once somebody approved.

Own how their ends become a task's state. What a baseline is, and that it needs somebody and a reason, is the library's
matter.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from model_health.errors import ModelHealthError
from model_health_airflow.operators.evaluate_gates import failed

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_health.baseline.document import Provenance
    from model_health.runner.supervise import StopSignal

APPROVE = "Approve"
progress = logging.getLogger("model_health_airflow.progress")


class CreateBaselineOperator(BaseOperator):
    """Make a baseline of the newest healthy runs, in a child process with its own interpreter; promote nothing.

    Returns (XCom) its name, and what would change if it counted.

    Args:
        model: a model of `configs/models/`.
        suite: a suite of `configs/canaries/`; None or empty: the model's first one.
        reason: why it is made.
        runs: how many of the newest healthy runs stand behind it.
    """

    template_fields: Sequence[str] = ("model", "suite", "reason", "runs")
    ui_color = "#d9ead3"
    _stop: StopSignal | None = None

    def __init__(
        self, *, model: str, reason: str, suite: str | None = None, runs: int | str = 1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.suite = suite
        self.reason = reason
        self.runs = runs

    def execute(self, context: Context) -> dict[str, Any]:
        """Make it."""
        from model_health.runner.supervise import StopSignal
        from model_health.runner.supervise_baseline import make_baseline

        self._stop = StopSignal()
        try:
            made = make_baseline(
                self.model,
                self.suite or None,
                _provenance(context, "the Dag refresh_baseline", self.reason),
                runs=int(self.runs),
                on_line=progress.info,
                stop=self._stop,
            )
        except ModelHealthError as error:
            raise failed(error) from None
        progress.info("%s: %s", made.baseline, made.says)
        return made.summary()

    def on_kill(self) -> None:
        """Airflow asks the task to stop: end the child; nothing is half written."""
        if self._stop is not None:
            self._stop.request("by Airflow: the task was cleared, marked, timed out, or its worker is shutting down")


class PromoteBaselineOperator(BaseOperator):
    """Let a baseline count, on behalf of whoever approved it.

    Args:
        baseline: MODEL/SUITE/ID.
        reason: why.
        approval: what the approving task returned; without an approval in it nothing is promoted.
    """

    template_fields: Sequence[str] = ("baseline", "reason", "approval")
    ui_color = "#d9ead3"

    def __init__(self, *, baseline: str, reason: str, approval: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.baseline = baseline
        self.reason = reason
        self.approval = approval

    def execute(self, context: Context) -> dict[str, Any]:
        """Promote."""
        from model_health.baseline.registry import promote_named
        from model_health.config.settings import load_settings

        given = self.approval if isinstance(self.approval, Mapping) else {}
        if list(given.get("chosen_options") or ()) != [APPROVE]:
            raise AirflowFailException(f"{self.baseline} is not promoted: nobody approved")
        provenance = _provenance(context, _name(given.get("responded_by_user")), self.reason)
        try:
            promotion = promote_named(load_settings().store_uri, self.baseline, provenance)
        except ModelHealthError as error:
            raise failed(error) from None
        progress.info("%s counts from now on, by %s", self.baseline, provenance.by)
        return {"baseline": self.baseline, "number": promotion.number, "replaced": promotion.replaced}


def _provenance(context: Context, by: str, reason: str) -> Provenance:
    from model_health.baseline.document import Provenance
    from model_health.report.manifest import AirflowIds

    instance = context["ti"]
    if not reason.strip():
        raise AirflowFailException("a baseline needs a reason")
    ids = AirflowIds(
        dag_id=instance.dag_id,
        run_id=instance.run_id,
        task_id=instance.task_id,
        map_index=instance.map_index,
        try_number=instance.try_number,
    )
    return Provenance(by=by[:200], reason=reason[:2000], airflow=ids)


def _name(user: Any) -> str:
    """Who answered; Airflow gives an id and a name."""
    found = user if isinstance(user, Mapping) else {}
    return str(found.get("name") or found.get("id") or "an unnamed user of Airflow")
