"""Reads the catalogue that lies beside this module, once per process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from model_health.catalog.metric import Metric, Scope
from model_health.errors import ConfigError

RESOURCE = "catalogue.yaml"
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""As safe either way; the one in C takes a tenth of the time, which every run pays once."""


class Catalogue(Mapping[str, Metric]):
    """All metrics by name, in the order in which they are written."""

    def __init__(self, metrics: tuple[Metric, ...]) -> None:
        self._by_name = {metric.name: metric for metric in metrics}
        if len(self._by_name) != len(metrics):
            names = [metric.name for metric in metrics]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConfigError(f"a metric is defined twice: {', '.join(twice)}", subject=RESOURCE)

    def __getitem__(self, name: str) -> Metric:
        return self._by_name[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def of_scope(self, *scopes: Scope) -> tuple[Metric, ...]:
        """Metrics of the given scopes."""
        return tuple(metric for metric in self._by_name.values() if metric.scope in scopes)

    def emitted(self) -> tuple[Metric, ...]:
        """Metrics that leave the report as samples."""
        return tuple(metric for metric in self._by_name.values() if metric.emitted)


def parse(text: str, *, subject: str = RESOURCE) -> Catalogue:
    """Read a catalogue from YAML.

    Args:
        text: a mapping from metric name to its fields.
        subject: what an error names as the file.

    Raises:
        ConfigError: not YAML, not a mapping, a metric with a wrong or missing field, or two of one name.
    """
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506  # both are safe
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", subject=subject) from error
    if not isinstance(raw, dict):
        raise ConfigError("not a mapping of metric names", subject=subject)
    metrics = []
    for name, fields in raw.items():
        if not isinstance(fields, dict):
            raise ConfigError(f"metric {name}: not a mapping of fields", subject=subject)
        try:
            metrics.append(Metric.model_validate({"name": name, **fields}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"metric {name}: {where}: {first['msg']}", subject=subject) from error
    return Catalogue(tuple(metrics))


@cache
def catalogue() -> Catalogue:
    """The library's own catalogue."""
    return parse((files("model_health.catalog") / RESOURCE).read_text(encoding="utf-8"))
