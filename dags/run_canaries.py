"""Send every configured model through its canary suites, validate and publish what was measured, and judge it.

One mapped group of tasks per model and suite. Models that ask for CUDA wait for a slot of the pool `gpu` and run on the
queue `gpu`. Each model is measured in a process of its own; whatever happens to one harms no other.

**Parameters.** `model`: only this one (also if it is disabled); default: every enabled model.
`suite`: this suite for all of them; default: the suites that each model's config names.

**When a task is red.** `measure`: the model could not be measured; the log ends with the child's last words; retried.
`validate`: reports contradict themselves, and only that is published. `publish`, `publish_verdicts`, `alert`: a sink or
a transport does not answer; what it did not take waits. `evaluate_gates`: the model fails a gate; RUNBOOK.md says what
to do. `healthy` does nothing: it is red if anything before it is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag

from model_health_airflow.groups import canary_runs

NAMES = ["null", "string"]


@dag(
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["model-health", "canary"],
    default_args={"owner": "model-health", "retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "model": Param(None, type=NAMES, description="Only this model; empty: every enabled one."),
        "suite": Param(None, type=NAMES, description="This canary suite for all; empty: each model's own."),
    },
)
def run_canaries() -> None:
    """Choose the runs of each pool, then take each from the measurement to the person on call."""
    for pool, queue in (("default_pool", "default"), ("gpu", "gpu")):
        canary_runs(pool, queue)


run_canaries()
