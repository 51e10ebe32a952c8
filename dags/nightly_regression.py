"""Hold every model that has a promoted baseline against it: is it still the model that was accepted?

One mapped group of tasks per model and suite generates the canary suite and replays the accepted tokens, with the model
once loaded, in a process of its own. Once all are done, `settle` screens the whole night together, because its tests
share one alarm budget; then each model is judged and whoever is on call hears of it, by the gate `changed-model`.

**Parameters.** `model`: only this one; default: every enabled model with a promoted baseline. `suite`: this suite for
all; default: the suites that each model's config names. Baselines are made by `model-health baseline create` or by the
Dag `refresh_baseline`; a model without one is passed over.

**When a task is red.** `measure`: the model could not be measured or replayed; the log ends with the child's last
words; retried. `settle`: the index does not answer. `evaluate_gates`: the model fails a gate; RUNBOOK.md, *Changed
model*, says what to do. `validate`, `publish`, `publish_verdicts`, `alert`: as in `run_canaries`. `healthy` does
nothing: it is red if anything before it is.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag

from model_health_airflow.groups import nightly_runs

NAMES = ["null", "string"]


@dag(
    schedule="30 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["model-health", "regression"],
    default_args={"owner": "model-health", "retries": 2, "retry_delay": timedelta(minutes=1)},
    params={
        "model": Param(None, type=NAMES, description="Only this model; empty: every one with a promoted baseline."),
        "suite": Param(None, type=NAMES, description="This canary suite for all; empty: each model's own."),
    },
)
def nightly_regression() -> None:
    """Compare, settle the night, judge and tell."""
    nightly_runs((("default_pool", "default"), ("gpu", "gpu")))


nightly_regression()
