"""Make a new baseline of a model, and let it count once somebody approved: a model that changed on purpose.

`create` makes it in a process of its own, from the newest healthy runs of the suite and several replays; `approve`
waits for a person (*Required actions* in Airflow) and shows the reason and what differs from the baseline that counts
now; `promote` records who approved. Rejected, the new baseline stays in the store and does not count.

**Parameters.** `model` and `reason` are required. `suite`: default is the model's first. `runs`: how many healthy runs
stand behind it. For a model that asks for CUDA, this Dag's worker must have a GPU.

**When a task is red.** `create`: there is no healthy run of this model with these weights (run `run_canaries` first),
or it could not be replayed; the log says which. `approve`: nobody answered within a week. `promote`: it counts already,
or the store does not answer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag

from model_health_airflow.operators.baselines import CreateBaselineOperator, PromoteBaselineOperator

MADE = "ti.xcom_pull(task_ids='create')"
REASON, SUITE = "{{ params.reason }}", "{{ params.suite or '' }}"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    doc_md=__doc__,
    tags=["model-health", "regression"],
    default_args={"owner": "model-health", "retries": 0},
    params={
        "model": Param(type="string", minLength=1, description="A model of configs/models."),
        "reason": Param(type="string", minLength=3, maxLength=2000, description="Why the model may differ."),
        "suite": Param(None, type=["null", "string"], description="A canary suite; empty: the model's first."),
        "runs": Param(1, type="integer", minimum=1, maximum=100, description="Healthy runs behind it."),
    },
)
def refresh_baseline() -> None:
    """Create, ask, promote."""
    create = CreateBaselineOperator(
        task_id="create", model="{{ params.model }}", suite=SUITE, reason=REASON, runs="{{ params.runs }}"
    )
    approve = ApprovalOperator(
        task_id="approve",
        subject=f"Shall {{{{ {MADE}['baseline'] }}}} count from now on?",
        body=f"Reason: {REASON}\n\n{{{{ {MADE}['says'] }}}}",
        response_timeout=timedelta(days=7),
    )
    baseline = f"{{{{ {MADE}['baseline'] }}}}"
    promote = PromoteBaselineOperator(task_id="promote", baseline=baseline, reason=REASON, approval=approve.output)
    create >> approve >> promote


refresh_baseline()
