"""The notifier for tasks whose failure leaves nothing that a gate could judge: it raises an alert, success ends it.

    noted = TaskOutcomeNotifier()
    InstrumentationOperator(..., on_failure_callback=noted, on_success_callback=noted)

It belongs on tasks that measure (a task that failed because its model is unhealthy, or could not be measured, left a
record: the gates speak of that) and on the one that chooses what is measured. What fails later has other alerts:
`report-invalid`, `outbox-stuck`, failed notifications. Owns what it reads from Airflow's context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.sdk import BaseNotifier

if TYPE_CHECKING:
    from airflow.sdk import Context


class TaskOutcomeNotifier(BaseNotifier):
    """Note how a task ended, as an answer of the gate `task-failed`.

    Args:
        model: a model's name; None: the task's own `model`.
        suite: a suite's name; None: the task's own `suite`.
    """

    template_fields: Sequence[str] = ("model", "suite")

    def __init__(self, *, model: str | None = None, suite: str | None = None) -> None:
        super().__init__()
        self.model = model
        self.suite = suite

    def notify(self, context: Context) -> None:
        """Note it."""
        from model_health.alerting.watch import note_task

        task, instance = context["task"], context["ti"]
        error = context.get("exception")
        reason = None if error is None else f"{instance.task_id} of {instance.dag_id}: {error}"
        note_task(
            self.model or getattr(task, "model", None) or "unknown",
            self.suite or getattr(task, "suite", None) or "unknown",
            instance.run_id,
            reason,
        )
