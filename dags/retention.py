"""Forget old runs, so that neither store nor index grows for ever: reports first, then rows.

What is old is said by MODEL_HEALTH_RETENTION_DAYS and MODEL_HEALTH_RETENTION_RUNS, or by the Dag's parameters. Promoted
baselines and their runs, evidence of open alerts, what is under way or not delivered, and the newest runs of every
model stay whatever they say. `model-health store prune` shows beforehand what would go.

**Parameters.** `days`: runs that started longer ago are old. `runs`: all but the newest of each model and suite are
old. `delete`: off only says what would go.

**When `prune` is red.** The store, the index or a promotion cannot be read; nothing is lost, and the next run goes on.
It is skipped where nothing says what is old.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag

from model_health_airflow.operators.prune import PruneOperator

NUMBER = ["null", "integer"]


@dag(
    schedule="45 3 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["model-health", "operation"],
    default_args={
        "owner": "model-health",
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(hours=2),
    },
    params={
        "days": Param(None, type=NUMBER, minimum=1, description="Empty: the setting."),
        "runs": Param(None, type=NUMBER, minimum=1, description="Empty: the setting."),
        "delete": Param(True, type="boolean", description="Off: only say what would go."),
    },
)
def retention() -> None:
    """Prune."""
    PruneOperator(task_id="prune")


retention()
