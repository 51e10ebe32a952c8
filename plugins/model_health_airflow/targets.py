"""Owns the step from a Dag run's params to its mapped tasks. Which runs there are is the library's matter.

Airflow maps tasks over one XCom, and an XCom is to stay under 4 KB, which the names of eighty models fill. So the XCom
that is mapped over has only the length, and the names lie in further XComs of `SHARD` runs each. A task reads the one
that its place among the mapped tasks points at. They belong to the Dag run: a task that is cleared days later gets the
same model, whatever was configured meanwhile.

The length takes three bytes a run: more than 1,365 runs of a queue pass 4 KB. Airflow's own limit for a map, 1,024, has
to be raised before that (`core.max_map_length`; SCALE.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from model_health.errors import BadInput, ModelHealthError

if TYPE_CHECKING:
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

SHARD = 10
"""Runs per XCom: as many as fit into 4 KB however long their names are."""


def choose(
    wants_cuda: bool,
    params: dict[str, Any] | None = None,
    ti: RuntimeTaskInstanceProtocol | None = None,
    *,
    accepted: bool = False,
) -> list[int]:
    """Leave the model and the suite of each run in XComs, and return a list with a zero for each, to be mapped over.

    Airflow hands in `params` and `ti`. With `accepted`, only of models that have a promoted baseline on the suite.
    """
    from model_health.runner.supervise_targets import choose_targets

    asked = params or {}
    try:
        names = {"model": asked.get("model"), "suite": asked.get("suite")}
        chosen = choose_targets(wants_cuda=wants_cuda, accepted=accepted, **names)
    except BadInput as error:
        raise AirflowFailException(str(error)) from None
    except ModelHealthError as error:  # the store does not answer: that may pass
        raise AirflowException(str(error)) from None
    assert ti is not None, "Airflow hands it in"
    for begin in range(0, len(chosen), SHARD):
        ti.xcom_push(key=f"shard_{begin // SHARD}", value=chosen[begin : begin + SHARD])
    return [0] * len(chosen)


def queue_of(model: str) -> str:
    """Return the queue on whose workers a model runs: `gpu` for one that asks for CUDA, else `default`."""
    from model_health.config.load import load_project

    try:
        return "gpu" if load_project().get_model(model).wants_cuda else "default"
    except BadInput as error:
        raise AirflowFailException(str(error)) from None


def chosen(task_id: str, field: Literal["model", "suite"]) -> str:
    """Return the template that gives a mapped task the model or the suite which `choose`, as `task_id`, left for it."""
    shard = f"ti.xcom_pull(task_ids='{task_id}', key='shard_%d' % (ti.map_index // {SHARD}), map_indexes=none)"
    return f"{{{{ {shard}[ti.map_index % {SHARD}]['{field}'] }}}}"
