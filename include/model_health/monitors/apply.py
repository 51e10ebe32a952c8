"""What `model-health monitors` does: render into a folder, show what differs, make it so.

Owns which files a target has and the three commands. Each returns the text to print and the exit code; input that is
wrong raises one of our errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, get_args

from model_health.config.settings import Settings, load_settings
from model_health.config.sinks import load_sinks
from model_health.errors import ConfigError, ExitCode, StoreError
from model_health.monitors import alertmanager, datadog, datadog_dashboard, grafana, prometheus, promtests, scrape
from model_health.monitors.datadog_api import DatadogApi
from model_health.monitors.datadog_sync import DatadogSync
from model_health.monitors.files import Place, apply_files, plan_files, write_file
from model_health.monitors.plan import Journal, Outcome, Plan, refusals
from model_health.monitors.target import RenderInput, load_input

Target = Literal["prometheus", "datadog"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)
FOLDER = "monitoring"
"""Below `configs/`: where `render` writes unless it is told otherwise, a folder per target."""

MONITORS_FILE = "model-health.monitors.json"
DASHBOARD_FILE = "model-health.dashboard.json"


def rendered(target: Target, given: RenderInput) -> dict[str, str]:
    """File name -> text of everything that a target has. The same input gives the same bytes."""
    if target == "prometheus":
        return {
            prometheus.RULES_FILE: prometheus.render_rules(given),
            promtests.TESTS_FILE: promtests.render_tests(given),
            promtests.SLOW_TESTS_FILE: promtests.render_slow_tests(given),
            alertmanager.CONFIG_FILE: alertmanager.render_config(given),
            grafana.DASHBOARD_FILE: grafana.render_dashboard(given),
            scrape.EXAMPLE_FILE: scrape.render_example(given),
        }
    return {
        MONITORS_FILE: _json(datadog.render_monitors(given)),
        DASHBOARD_FILE: _json(datadog_dashboard.render_dashboard(given)),
    }


def render(target: Target, out: Path | None = None, settings: Settings | None = None) -> Outcome:
    """Write everything of a target into a folder, for a person to import or to read.

    Raises:
        ConfigError: the configuration is wrong.
        StoreError: the folder cannot be written.
    """
    settings = load_settings() if settings is None else settings
    folder = settings.configs_dir / FOLDER / target if out is None else out
    files = rendered(target, load_input(settings))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot be made: {error.strerror or error}", subject=str(folder)) from error
    for name, text in files.items():
        write_file(folder / name, text)
    return Outcome("".join(f"{folder / name}\n" for name in files))


def diff(target: Target, settings: Settings | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Outcome:
    """What `apply` would change, as a unified diff. Exit code 1 where there is something, as of `diff`.

    Raises:
        ConfigError: the configuration is wrong, or names no place to apply to.
        DeliveryFailed, StoreError: what is there cannot be read.
    """
    parts, code = [], ExitCode.HEALTHY
    for plan, _ in _plans(target, load_settings() if settings is None else settings, sleep):
        parts += [plan.diff(), *(f"{line}\n" for line in refusals(plan.refused)), f"{plan.summary()}\n"]
        if plan.refused or plan.changes:
            code = ExitCode.BAD_INPUT if plan.refused else max(code, ExitCode.UNHEALTHY)
    return Outcome("".join(parts), code)


def apply(
    target: Target,
    settings: Settings | None = None,
    *,
    dry_run: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Make a target what the rules say, and say what was done. A second time there is nothing to do.

    Exit code 0 if all is as it should be now (of a dry run: also if it is not yet), 3 if something failed, 2 if
    something that is not ours is in the way.

    Raises:
        ConfigError: the configuration is wrong, or names no place to apply to.
        DeliveryFailed, StoreError: what is there cannot be read; nothing was changed.
    """
    parts, codes = [], [ExitCode.HEALTHY]
    for plan, carry_out in _plans(target, load_settings() if settings is None else settings, sleep):
        parts.append(plan.diff())
        if dry_run:
            parts += [*(f"{line}\n" for line in refusals(plan.refused)), f"dry run: {plan.summary()}\n"]
            codes.append(ExitCode.BAD_INPUT if plan.refused else ExitCode.HEALTHY)
            continue
        journal = Journal()
        carry_out(plan, journal)
        outcome = journal.outcome(plan)
        parts.append(outcome.text)
        codes.append(outcome.exit_code)
    return Outcome("".join(parts), max(codes))


def _plans(
    target: Target, settings: Settings, sleep: Callable[[float], None]
) -> list[tuple[Plan, Callable[[Plan, Journal], None]]]:
    """The plan of each server, and what carries it out. All are made before anything is changed."""
    given = load_input(settings)
    if target == "datadog":
        config = load_sinks(settings).datadog
        api = DatadogApi(config, settings.secret(config.api_key_secret), settings.secret(config.app_key_secret))
        sync = DatadogSync(
            api,
            datadog.render_monitors(given),
            [datadog_dashboard.render_dashboard(given)],
            tags=datadog.owner_tags(given),
            marker=given.marker,
            sleep=sleep,
        )
        return [(sync.plan(), sync.apply)]
    found: list[tuple[Plan, Callable[[Plan, Journal], None]]] = []
    for place in places(given, settings):

        def carry_out(plan: Plan, journal: Journal, place: Place = place) -> None:
            apply_files(place, plan, journal)

        found.append((plan_files(place, given.marker), carry_out))
    return found


def places(given: RenderInput, settings: Settings) -> list[Place]:
    """Where the files of Prometheus and Alertmanager go. Raises `ConfigError` where `monitors.yaml` names no place."""
    ours, theirs = given.monitors.prometheus, given.monitors.alertmanager
    found = []
    if ours.rules_dir is not None:
        folder = settings.home / ours.rules_dir
        name = file_name(prometheus.RULES_FILE, given)
        found.append(Place("prometheus", {folder / name: prometheus.render_rules(given)}, folder, ours.url))
    if theirs.config_file is not None:
        path = settings.home / theirs.config_file
        found.append(Place("alertmanager", {path: alertmanager.render_config(given)}, None, theirs.url))
    if not found:
        hint = "set prometheus.rules_dir or alertmanager.config_file in configs/monitors.yaml, or use `render`"
        raise ConfigError("names no place to apply to", subject="monitors.yaml", hint=hint)
    return found


def file_name(name: str, given: RenderInput) -> str:
    """The name of a file in a folder that installations share: all but the default one add theirs."""
    installation = given.monitors.installation
    return name if installation == "default" else name.replace("model-health", f"model-health-{installation}", 1)


def _json(content: object) -> str:
    return json.dumps(content, indent=2) + "\n"
