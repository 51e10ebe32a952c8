"""Who watches the monitor? Once a week faults are put into every model in memory, and the monitor has to notice them.

One mapped task per model and suite loads the model in a process of its own, replays it healthy and with each fault of
the catalogue, and leaves a row per fault in the index. Nothing is written to the model's files.

**Parameters.** `model`: only this one; default: every enabled model. `suite`: this suite for all; default: the suites
that each model's config names.

**When `self_test` is red.** The monitor missed a fault that it promises to see, named a wrong layer, or called a
harmless change a fault: until that is understood, its other answers about this model deserve doubt. Its log lists
every fault; `model-health self-test --model NAME --fault TEXT` repeats one. Or the model could not be measured, which
is retried.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import Param, dag, task, task_group

from model_health_airflow.notifiers.task_outcome import TaskOutcomeNotifier
from model_health_airflow.operators.self_test import SelfTestOperator
from model_health_airflow.targets import choose, chosen

NAMES = ["null", "string"]


@dag(
    schedule="0 4 * * 0",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    doc_md=__doc__,
    tags=["model-health", "self-test"],
    default_args={"owner": "model-health", "retries": 1, "retry_delay": timedelta(minutes=5)},
    params={name: Param(None, type=NAMES, description="Empty: all.") for name in ("model", "suite")},
)
def self_test() -> None:
    """Choose the models of each pool, then test the monitor on each."""
    noted = TaskOutcomeNotifier()
    for pool, queue in (("default_pool", "default"), ("gpu", "gpu")):
        name = f"choose_{queue}"
        model, suite = chosen(name, "model"), chosen(name, "suite")

        @task_group(group_id=f"monitor_{queue}")
        def monitor(place: int, pool: str = pool, queue: str = queue, model: str = model, suite: str = suite) -> None:
            SelfTestOperator(task_id="self_test", model=model, suite=suite, pool=pool, queue=queue,
                             on_failure_callback=noted, on_success_callback=noted)  # fmt: skip

        monitor.expand(place=task(task_id=name)(choose)(queue == "gpu"))


self_test()
