"""The commands: arguments in, one call into the library, something readable out, an exit code back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from model_health.cli.tables import print_rows
from model_health.config.load import load_project
from model_health.config.settings import Settings, load_settings, wait_politely
from model_health.errors import BadInput, CouldNotMeasure, ExitCode, ModelHealthError, ReportError

if TYPE_CHECKING:
    from model_health.runner.request import RunOutcome
    from model_health.validate.result import ValidationResult


def run(arguments: argparse.Namespace) -> int:
    """`model-health run`."""
    from model_health.report.manifest import AirflowIds
    from model_health.runner.request import RunRequest, write_result

    settings = load_settings()
    airflow = None
    if arguments.airflow_dag_id and arguments.airflow_run_id:
        airflow = AirflowIds(
            dag_id=arguments.airflow_dag_id,
            run_id=arguments.airflow_run_id,
            task_id=arguments.airflow_task_id,
            map_index=arguments.airflow_map_index,
            try_number=arguments.airflow_try,
        )
    request = RunRequest(
        model=arguments.model,
        suite=arguments.suite,
        run_id=arguments.run_id,
        store_uri=arguments.out,
        sinks=tuple(arguments.sink),
        batch_size=arguments.batch_size,
        device=arguments.device,
        perf=arguments.perf,
        prompt_telemetry=not arguments.no_prompt_telemetry,
        compare=arguments.compare,
        airflow=airflow,
    )
    # Known names are checked before torch is imported: a typing error should cost a moment, not ten seconds.
    project = load_project(settings)
    config = project.get_model(request.model)
    project.get_suite(request.suite or config.suites[0])
    if arguments.device is not None or arguments.batch_size is not None:
        request.applied_to(config)
    wait_politely()
    from model_health.runner.canary import run_canaries, utc_now
    from model_health.runner.summary import people_console, print_manifest

    request = request.named(utc_now())
    result_file = Path(arguments.result_file) if arguments.result_file else None
    try:
        outcome = run_canaries(request, settings, say=lambda line: print(line, file=sys.stderr, flush=True))
    except ModelHealthError as error:
        if result_file is not None or arguments.json:
            summary = {
                "run_id": request.run_id,
                "model": request.model,
                "suite": request.suite or config.suites[0],
                "status": "could_not_measure",
                "verdict": "could_not_measure",
                "exit_code": int(error.exit_code),
                "reason": str(error),
            }
            if result_file is not None:
                write_result(result_file, summary)
            if arguments.json:
                print(json.dumps(summary))
        raise
    if result_file is not None:
        write_result(result_file, outcome.summary())
    if arguments.json:
        print(json.dumps(outcome.summary()))
    elif result_file is None:
        print_manifest(outcome.manifest, outcome.manifest_uri, people_console())
    if airflow is None:  # under Airflow, validating and publishing are tasks of their own
        return _with_comparison(outcome, _publish(outcome, settings))
    return outcome.exit_code


def _with_comparison(outcome: RunOutcome, code: int) -> int:
    """Of a healthy run the verdict of its comparison counts; of another one its own end does."""
    if outcome.comparison is None or code != ExitCode.HEALTHY:
        return code
    return int(outcome.comparison["exit_code"])


def _publish(outcome: RunOutcome, settings: Settings) -> int:
    """Validate a run and deliver it to its sinks now. What did not arrive waits, and a line says so."""
    from model_health.delivery.publish_run import publish_run
    from model_health.store.index.index import Index

    with Index.open(settings.index_url) as index:
        published = publish_run(index, settings, outcome.run_key, outcome.manifest_uri)
    for line in published.lines:
        sys.stderr.write(f"model-health: {line}\n")
    # A verdict that was drawn from invalid reports says nothing about the model.
    return ExitCode.COULD_NOT_MEASURE if published.valid is False else outcome.exit_code


def validate(arguments: argparse.Namespace) -> int:
    """`model-health validate`: every problem is printed, and any of them makes the exit code 2.

    Runs (a folder or a manifest in one) and single reports go through the expectations that a scheduled run goes
    through. Nothing is written or released by looking; `--record` does what the Dag's task does.
    """
    settings = load_settings()
    if not arguments.paths:
        project = load_project(settings)
        print(f"{len(project.models)} models and {len(project.suites)} suites are valid")
        return _problems([problem.error for problem in project.problems])
    problems: list[ModelHealthError] = []
    for path in arguments.paths:
        try:
            found = _invalid(path, settings, record=arguments.record)
        except ModelHealthError as error:
            found = [error]
        if not found:
            print(f"{path}: valid")
        problems += found
    return _problems(problems)


def _invalid(reference: str, settings: Settings, *, record: bool) -> list[ModelHealthError]:
    """Why a run or a report is invalid; what only tells of a model's health is printed and counts for nothing here."""
    from model_health.cli.sources import is_manifest

    if find_spec("great_expectations") is None:
        hint = "install model-health[validate], or validate elsewhere"
        raise CouldNotMeasure("great_expectations is not installed", subject=reference, hint=hint)
    if Path(reference).is_dir() or is_manifest(reference):
        from model_health.delivery.validity import validity_items
        from model_health.validate.run import validate_run

        if "://" not in reference:  # one may stand in the run's folder, whose names say which run it is
            reference = str(Path(reference).absolute())
        result = validate_run(reference, settings, write=record, announce=validity_items)
    elif record:
        raise BadInput("is no run", subject=reference, hint="--record takes a run's folder or its manifest")
    else:
        result = _examined(reference, settings)
    for failure in result.failures:
        if failure.severity != "critical":
            sys.stderr.write(f"model-health: warning: {failure.line}\n")
    return [
        ReportError(failure.line, subject=reference) for failure in result.failures if failure.severity == "critical"
    ]


def _examined(reference: str, settings: Settings) -> ValidationResult:
    """What the expectations say of a report, or of a database of reports."""
    from model_health.cli.sources import source_of
    from model_health.store.index.index import utc_now
    from model_health.validate.examine import examine_source

    # Only warnings depend on the thresholds, and a report alone does not say which model's entry was meant.
    thresholds = load_project(settings).thresholds_for("", None)
    return examine_source(source_of(reference), reference, thresholds, utc_now()).result


def show(arguments: argparse.Namespace) -> int:
    """`model-health show`."""
    from model_health.cli.sources import read_any
    from model_health.report.manifest import Manifest
    from model_health.report.serialise import to_json
    from model_health.report.text import render_report
    from model_health.runner.summary import people_console, print_manifest

    found = read_any(arguments.report)
    if arguments.json:
        print(to_json(found, indent=2).decode())
    elif isinstance(found, Manifest):
        print_manifest(found, arguments.report, people_console())
    else:
        render_report(found, people_console())
    return ExitCode.HEALTHY


def convert(arguments: argparse.Namespace) -> int:
    """`model-health convert`."""
    from model_health.report.load import convert_file

    for path in convert_file(Path(arguments.source), Path(arguments.target)):
        print(path)
    return ExitCode.HEALTHY


def models(arguments: argparse.Namespace) -> int:
    """`model-health models`; a broken file is named, the healthy models are listed all the same."""
    project = load_project(load_settings())
    rows: list[dict[str, object]] = [
        {
            "name": model.name,
            "enabled": model.enabled,
            "source": model.source.label,
            "revision": model.revision,
            "device": model.device,
            "dtype": model.dtype,
            "quantization": model.quantization,
            "suites": list(model.suites),
        }
        for model in project.models.values()
    ]
    print_rows(rows, arguments.json)
    return _problems([problem.error for problem in project.problems])


def suites(arguments: argparse.Namespace) -> int:
    """`model-health suites [NAME]`."""
    project = load_project(load_settings())
    if arguments.suite is None:
        rows: list[dict[str, object]] = [
            {
                "name": suite.name,
                "version": suite.version,
                "prompts": len(suite.prompts),
                "groups": list(suite.groups),
                "digest": suite.digest()[:12],
            }
            for suite in project.suites.values()
        ]
        print_rows(rows, arguments.json)
        return _problems([problem.error for problem in project.problems])
    suite = project.get_suite(arguments.suite)
    rows = [
        {
            "id": prompt.id,
            "group": prompt.group,
            "kind": "plain" if prompt.messages is None else "chat",
            "max_new_tokens": suite.generation(prompt).max_new_tokens,
            "tolerates": sorted(flag.value for flag in suite.tolerated(prompt)),
        }
        for prompt in suite.prompts
    ]
    print_rows(rows, arguments.json)
    return ExitCode.HEALTHY


def _problems(problems: Sequence[ModelHealthError]) -> int:
    for problem in problems:
        sys.stderr.write(f"model-health: {problem}\n")
    return ExitCode.BAD_INPUT if problems else ExitCode.HEALTHY
