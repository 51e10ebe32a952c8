"""Make a new baseline of a model, and let it count once somebody approved: a model that changed on purpose.

`where` sends the work to where the model's resource is; `create_default` or `create_gpu` makes the baseline in a
process of its own, from the newest healthy runs of the suite and several replays (a model that asks for CUDA waits for
a slot of the pool `gpu` and runs on the queue `gpu`); `approve` waits for a person (*Required actions* in Airflow) and
shows the reason and what differs from the baseline that counts now; `promote` records who approved. Rejected, the new
baseline stays in the store and does not count.

**Parameters.** `model` and `reason` are required. `suite`: default is the model's first. `runs`: how many healthy runs
stand behind it.

**When a task is red.** `where`: there is no such model. `create_default`, `create_gpu`: there is no healthy run of this
model with these weights (run `run_canaries` first), or it could not be replayed; the log says which. `approve`: nobody
answered within a week. `promote`: it counts already, or the store does not answer.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag

from model_health_airflow.groups import MADE, new_baseline
from model_health_airflow.operators.baselines import PromoteBaselineOperator

TEXT, REASON = {"type": "string", "maxLength": 2000}, "{{ params.reason }}"


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    doc_md=__doc__,
    tags=["model-health", "regression"],
    default_args={"owner": "model-health", "retries": 0},
    params={
        "model": Param(minLength=1, description="A model of configs/models.", **TEXT),
        "reason": Param(minLength=3, description="Why the model may differ.", **TEXT),
        "suite": Param(None, type=["null", "string"], description="A canary suite; empty: the model's first."),
        "runs": Param(1, type="integer", minimum=1, maximum=100, description="Healthy runs behind it."),
    },
)
def refresh_baseline() -> None:
    """Create where the model's resource is, ask, promote."""
    said = f"Reason: {REASON}\n\n{{{{ {MADE}['says'] }}}}"
    baseline = f"{{{{ {MADE}['baseline'] }}}}"
    wait, some = timedelta(days=7), "none_failed_min_one_success"  # one of the two ways to create is skipped
    approve = ApprovalOperator(
        task_id="approve", subject=f"Shall {baseline} count?", body=said, response_timeout=wait, trigger_rule=some
    )
    promote = PromoteBaselineOperator(task_id="promote", baseline=baseline, reason=REASON, approval=approve.output)
    new_baseline(REASON) >> approve >> promote


refresh_baseline()
