"""Reads `configs/` into a ProjectConfig: each model and suite on its own, so that a broken one harms no other.

Owns which file holds what (`models/`, `canaries/`, `thresholds.yaml`) and the checks between files. It runs whenever
Airflow parses a Dag file: no heavy import, and one pass over the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from model_health.config.base import did_you_mean
from model_health.config.models import ModelConfig
from model_health.config.overrides import apply_override, match_name, place_overrides
from model_health.config.problems import Where, config_error
from model_health.config.project import ConfigProblem, Kind, ProjectConfig
from model_health.config.settings import ConfigOverride, Settings, load_settings
from model_health.config.suites import CanarySuite
from model_health.config.thresholds import ThresholdTable
from model_health.config.yaml_files import YamlDocument, read_yaml
from model_health.errors import BadInput, ConfigError, SuiteError

MODELS_FOLDER = "models"
SUITES_FOLDER = "canaries"
THRESHOLDS_FILE = "thresholds.yaml"

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class _Entry:
    """One raw model or suite: where it stands and what it holds."""

    name: str
    content: Any
    where: Where
    overrides: tuple[ConfigOverride, ...] = ()


def load_project(settings: Settings | None = None) -> ProjectConfig:
    """Read everything; what is broken ends in `ProjectConfig.problems`.

    Args:
        settings: the settings; read from the environment if None.

    Raises:
        ConfigError: the settings are wrong, or there is no configs folder.
    """
    settings = load_settings() if settings is None else settings
    if not settings.configs_dir.is_dir():
        raise ConfigError("is not a directory", subject=str(settings.configs_dir), hint="set MODEL_HEALTH_HOME")
    problems: list[ConfigProblem] = []
    suites = _section(settings, "suite", SUITES_FOLDER, CanarySuite, SuiteError, problems)
    models = _section(settings, "model", MODELS_FOLDER, ModelConfig, ConfigError, problems)
    broken_suites = {problem.name for problem in problems if problem.kind == "suite"}
    for name, (model, where) in list(models.items()):
        error = _cross_check(model, where, settings, set(suites) | broken_suites)
        if error is not None:
            problems.append(ConfigProblem("model", name, error))
            del models[name]
    table = _thresholds(settings, set(models) | {problem.name for problem in problems}, problems)
    return ProjectConfig(
        settings=settings,
        models=MappingProxyType({name: model for name, (model, _) in models.items()}),
        suites=MappingProxyType({name: suite for name, (suite, _) in suites.items()}),
        problems=tuple(problems),
        threshold_table=table,
    )


def _section(
    settings: Settings,
    kind: Kind,
    folder: str,
    model: type[_Model],
    error_kind: type[BadInput],
    problems: list[ConfigProblem],
) -> dict[str, tuple[_Model, Where]]:
    """All valid models or suites of one folder by name; the others become problems."""
    entries: dict[str, _Entry] = {}
    twice: dict[str, list[_Entry]] = {}
    for entry in _entries(settings, kind, folder, problems):
        if entry.name in entries:
            twice.setdefault(entry.name, [entries[entry.name]]).append(entry)
        entries[entry.name] = entry
    for name, same in twice.items():
        # Neither is the right one: running either would be a guess.
        first, second = same[0].where(()), same[1].where(())
        twin = error_kind(f"the {kind} '{name}' is configured twice, also in {first}", subject=second)
        problems.append(ConfigProblem(kind, name, twin))
        del entries[name]
    known = [*entries, *(problem.name for problem in problems if problem.kind == kind)]
    by_name: dict[str, list[ConfigOverride]] = {}
    for override in settings.overrides:
        if override.section == f"{kind}s":
            try:
                by_name.setdefault(match_name(override, override.path[0], known, kind), []).append(override)
            except ConfigError as error:
                problems.append(ConfigProblem(kind, override.path[0], error))
    valid: dict[str, tuple[_Model, Where]] = {}
    for name, entry in entries.items():
        try:
            valid[name] = _build(entry, by_name.get(name, []), model, error_kind)
        except BadInput as error:
            problems.append(ConfigProblem(kind, name, error))
    return valid


def _entries(settings: Settings, kind: Kind, folder: str, problems: list[ConfigProblem]) -> Iterator[_Entry]:
    for path in _yaml_files(settings.configs_dir / folder):
        try:
            document = read_yaml(path, relative_to=settings.home)
        except ConfigError as error:
            problems.append(ConfigProblem(kind, path.stem, error))
            continue
        many = kind == "model" and isinstance(document.data, list)
        for index, content in enumerate(document.data if many else [document.data]):
            prefix: tuple[str | int, ...] = (index,) if many else ()
            where = _below(document, prefix)
            name = content.get("name") if isinstance(content, dict) else None
            if not isinstance(content, dict):
                shapeless = ConfigError(f"holds no mapping of {kind} keys", subject=where(()))
                problems.append(ConfigProblem(kind, path.stem, shapeless))
            else:
                yield _Entry(name if isinstance(name, str) else path.stem, content, where)


def _build(
    entry: _Entry, overrides: list[ConfigOverride], model: type[_Model], error_kind: type[BadInput]
) -> tuple[_Model, Where]:
    content = entry.content
    for override in overrides:
        if override.path[1:] == ("name",):
            raise ConfigError("a name cannot be overridden", subject=override.variable)
        content = apply_override(content, override.path[1:], override)
    where = place_overrides(entry.where, [(override.path[1:], override) for override in overrides])
    try:
        return model.model_validate(content), where
    except ValidationError as error:
        raise config_error(error, model, where, kind=error_kind) from error


def _cross_check(model: ModelConfig, where: Where, settings: Settings, suites: set[str]) -> BadInput | None:
    for index, suite in enumerate(model.suites):
        if suite not in suites:
            hint = did_you_mean(suite, suites)
            place = where(("suites", index))
            return ConfigError(f"suites[{index}]: '{suite}' is not a configured suite", subject=place, hint=hint)
    if settings.require_pinned_revision and model.enabled:
        try:
            model.check_production("revisions must be pinned here")
        except ValueError as error:
            return ConfigError(str(error), subject=where(("source",)), hint="MODEL_HEALTH_REQUIRE_PINNED_REVISION")
    return None


def _thresholds(settings: Settings, models: set[str], problems: list[ConfigProblem]) -> ThresholdTable | None:
    path = settings.configs_dir / THRESHOLDS_FILE
    content: Any = {}
    where: Where = lambda _: THRESHOLDS_FILE  # noqa: E731
    try:
        if path.exists():
            document = read_yaml(path, relative_to=settings.home)
            content, where = document.data, document.where
        if not isinstance(content, dict):
            raise ConfigError("holds no mapping of thresholds", subject=where(()))
        overrides = [(override.path, override) for override in settings.overrides if override.section == "thresholds"]
        for override_path, override in overrides:
            content = apply_override(content, override_path, override)
        where = place_overrides(where, overrides)
        table = ThresholdTable(content, where)
        for name in sorted(table.models - models):
            hint = did_you_mean(name, models)
            stray = ConfigError(f"models.{name} is not a configured model", subject=where(("models", name)), hint=hint)
            problems.append(ConfigProblem("model", name, stray))
        return table
    except ConfigError as error:
        problems.append(ConfigProblem("thresholds", path.stem, error))
        return None


def _yaml_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.name[0] != ".")


def _below(document: YamlDocument, prefix: tuple[str | int, ...]) -> Where:
    return lambda loc: document.where((*prefix, *loc))
