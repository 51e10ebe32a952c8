"""Notice what does not happen: reports, comparisons with the baseline, self-tests; and an outbox that is stuck.

A canary that stopped running looks healthy for ever, so this Dag looks at the clock. It also reminds of alerts that
still stand, sends those that a silence held back, and tells Alertmanager again what stands. That takes seconds.

`reap` comes first: runs whose process died without a word become runs that could not be measured. It waits some minutes
where a run is silent, since only a heart that stands still while it is watched has stopped.

**When `look` is red.** A critical gate of the clock fails (`no_report`, `no_comparison`, `no_check`): the log names it,
RUNBOOK.md says what to do. The Dag `run_canaries` or `nightly_regression` may be paused, the scheduler down, or every
run of a model invalid.

**When `deliver` or `publish` is red.** A transport does not take its alerts, or a sink its samples; they wait in the
outbox and the task tries again. `publish` is also what brings a sink up to date between two canary runs.

**When `retire` is red.** A gateway still shows a model that is no longer configured, and does not answer.

The watcher can stop as well. Each look leaves a heartbeat (`freshness_checked_timestamp_seconds`), whose age and
absence Prometheus and Datadog watch from outside (`model-health monitors render`, gate `no-check`); and the first look
after a gap says for how long nobody looked.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag

from model_health_airflow.operators.deliver_alerts import DeliverAlertsOperator
from model_health_airflow.operators.evaluate_gates import CheckFreshnessOperator
from model_health_airflow.operators.publish import PublishOperator
from model_health_airflow.operators.reap import ReapOperator
from model_health_airflow.operators.retire import RetireOperator


@dag(
    schedule="*/15 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["model-health", "alerts"],
    default_args={
        "owner": "model-health",
        "retries": 2,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(minutes=10),
    },
)
def check_freshness() -> None:
    """Look at the clock, then deliver, whatever was found."""
    look = CheckFreshnessOperator(task_id="look", trigger_rule="all_done")
    ReapOperator(task_id="reap") >> look
    look >> DeliverAlertsOperator(task_id="deliver", trigger_rule="all_done")
    publish = PublishOperator(task_id="publish", trigger_rule="all_done")
    # After what waited was sent: that may have been of a model which was retired meanwhile.
    look >> publish >> RetireOperator(task_id="retire", trigger_rule="all_done")


check_freshness()
