"""Runs the suites over the frames: Great Expectations once per frame, in an ephemeral context that tells nobody.

A first pass asks every expectation and counts; only those that fail are asked again for the rows at fault. An
expectation that itself breaks is no finding about the report: it raises.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from model_health.errors import CouldNotMeasure
from model_health.validate.frames import Frames
from model_health.validate.gx_suites import suite_of
from model_health.validate.rules import Rule, all_rules

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.data_context.types.base import DataContextConfig
    from great_expectations.datasource.fluent.interfaces import Batch
    from great_expectations.expectations.expectation import Expectation
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from pandas import DataFrame  # type: ignore[import-untyped]

_DETAILS: dict[str, Any] = {
    "result_format": "COMPLETE",
    "include_unexpected_rows": False,
    "partial_unexpected_count": 5,
}
_LONG = ("unexpected_list", "unexpected_index_list", "unexpected_index_query")
"""What is taken out of a result once it is read: a list over all rows, and a query that spells it out."""


@dataclass(frozen=True)
class Outcome:
    """What became of one rule.

    Args:
        rule: the rule.
        success: whether every row kept it.
        checked: rows that were looked at.
        at_fault: how many of them broke it.
        rows: places of all those at fault in the frame.
        result: Great Expectations' own, to be rendered.
    """

    rule: Rule
    success: bool
    checked: int
    at_fault: int
    rows: NDArray[np.int_] = field(default_factory=lambda: np.empty(0, dtype=int), repr=False, compare=False)
    result: ExpectationValidationResult | None = field(default=None, repr=False, compare=False)


def check_frames(frames: Frames) -> list[Outcome]:
    """The outcome of every rule, in their order.

    Raises:
        CouldNotMeasure: an expectation raised instead of answering.
    """
    with quiet_great_expectations(), _configurations_remembered():
        import great_expectations as gx

        context = gx.get_context(mode="ephemeral", project_config=_project())
        asset = context.data_sources.add_pandas("model_health").add_dataframe_asset("frames")
        definition = asset.add_batch_definition_whole_dataframe("whole")
        outcomes: list[Outcome] = []
        for name, frame in frames.by_name.items():
            outcomes += _check(name, frame, definition.get_batch({"dataframe": frame}))
    return outcomes


def _project() -> DataContextConfig:
    """Everything in memory, nobody told, no folder for pages of its own (nobody would remove it), no progress bars."""
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
    )


def _check(name: str, frame: DataFrame, batch: Batch) -> list[Outcome]:
    rules = {rule.name: rule for rule in all_rules() if rule.frame == name}
    first = _by_rule(batch.validate(suite_of(name), result_format="BASIC"))
    assert first.keys() == rules.keys(), "every rule was asked"
    failed = tuple(rules[found] for found, result in first.items() if not result.success)
    again: Mapping[str, ExpectationValidationResult] = {}
    if failed:
        again = _by_rule(batch.validate(suite_of(name, failed), result_format=_DETAILS))
    return [_outcome(rule, frame, again.get(found, first[found])) for found, rule in rules.items()]


def _outcome(rule: Rule, frame: DataFrame, result: ExpectationValidationResult) -> Outcome:
    details = result.result
    rows = np.array(details.get("unexpected_index_list") or (), dtype=int)
    for name in _LONG:
        details.pop(name, None)
    return Outcome(
        rule=rule,
        success=bool(result.success),
        checked=int(details.get("element_count", len(frame))) - int(details.get("missing_count") or 0),
        at_fault=int(details.get("unexpected_count", 0)),
        rows=rows,
        result=result,
    )


def _by_rule(results: ExpectationSuiteValidationResult) -> dict[str, ExpectationValidationResult]:
    found: dict[str, ExpectationValidationResult] = {}
    for result in results.results:
        assert result.expectation_config is not None
        name = str((result.expectation_config.meta or {})["rule"])
        raised = _raised(result.exception_info or {})
        if raised:
            raise CouldNotMeasure(f"the expectation itself failed: {raised}", subject=name, hint="this is a defect")
        found[name] = result
    return found


def _raised(info: Mapping[str, Any]) -> str:
    """What an expectation raised: Great Expectations nests it by metric, or not."""
    nested = [one for one in info.values() if isinstance(one, Mapping)] or [info]
    return next((str(one.get("exception_message")) for one in nested if one.get("raised_exception")), "")


@contextmanager
def _configurations_remembered() -> Iterator[None]:
    """Have Great Expectations work out an expectation's configuration once.

    It asks each of them 120 times in one validation, and writes the whole expectation out anew each time: a third of
    what it needs for all. Nothing changes an expectation while it is being asked.
    """
    from great_expectations.expectations.expectation import Expectation

    original = Expectation.configuration
    known: dict[int, tuple[Expectation, ExpectationConfiguration]] = {}

    def configuration(self: Expectation) -> ExpectationConfiguration:
        # By identity, and held: the number of an object that is gone is given to another.
        if id(self) not in known:
            known[id(self)] = (self, original.__get__(self))
        return known[id(self)][1]

    Expectation.configuration = property(configuration)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Expectation.configuration = original  # type: ignore[method-assign]


@contextmanager
def quiet_great_expectations() -> Iterator[None]:
    """Its two hundred lines at INFO say nothing about a report; warnings and errors still come through."""
    parent = logging.getLogger("great_expectations")
    before = {parent: parent.level}
    parent.setLevel(max(parent.level, logging.WARNING))
    try:
        import great_expectations as gx

        # Some of its modules set a level of their own when they are loaded, which the parent's does not reach.
        own = [logging.getLogger(name) for name in logging.Logger.manager.loggerDict if name.startswith(gx.__name__)]
        before |= {logger: logger.level for logger in own if logger not in before and logger.level != logging.NOTSET}
        for logger, level in before.items():
            logger.setLevel(max(level, logging.WARNING))
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)
