"""The textfile sink: for hosts without a Pushgateway, files that a node exporter on the same host picks up.

    <folder>/model_health-run-<names>-<digest>.prom            a run of a (model, suite)
    <folder>/model_health-last_success-<names>-<digest>.prom   when the last one that measured ended
    <folder>/model_health-operation-<names>-<digest>.prom      one metric of Model Health itself, for one set of labels

Owns the names and that a file is whole: it is written beside its place and renamed. Which series share a file follows
`sinks.groups`. The digest tells apart names that read alike once they are fit for a file system.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from model_health.config.paths import local_path
from model_health.config.settings import Settings
from model_health.config.sinks import TextfileSinkConfig, load_sinks
from model_health.errors import ConfigError
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext, PublishResult
from model_health.sinks.exposition import text_of
from model_health.sinks.groups import Configured, Group, groups_of
from model_health.sinks.series import Labels, Series, series_of
from model_health.store.files import LocalFiles

PREFIX = "model_health-"
SUFFIX = ".prom"
MAX_BYTES = 64 * 2**20
"""Largest file that is looked into before it is removed."""

_OURS = re.compile(rf"{re.escape(PREFIX)}(run|last_success|operation)-.*{re.escape(SUFFIX)}")


def open_sink(settings: Settings) -> TextfileSink:
    """The sink that `sinks.yaml` sets up; a relative folder lies below home.

    Raises:
        ConfigError: it sets up none.
    """
    config = load_sinks(settings).textfile
    if config.folder is None:
        raise ConfigError("has no folder", subject="sink textfile", hint="set textfile.folder in configs/sinks.yaml")
    return TextfileSink(config, local_path(config.folder, settings.home))


class TextfileSink:
    """Writes into `folder`, which is made when first published to."""

    name = "textfile"

    def __init__(self, config: TextfileSinkConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder.resolve()
        self._files = LocalFiles(self._folder)

    def publish(self, samples: Sequence[Sample], context: PublishContext) -> PublishResult:
        """Replace the files that the samples belong to.

        Raises:
            StoreError: a file could not be written, or a label is not known to have few values.
            DeliveryFailed: permanent; a sample is not of the catalogue, or not a number.
        """
        series = series_of(samples, context, by_group=self._config.by_group, extra=self._config.labels)
        for group in groups_of(series):
            for name, content in _files(group):
                if content:
                    self._files.write(name, text_of(content))
                else:
                    self._files.remove_file(name)
        missing = sum(sample.value is None for sample in samples)
        return PublishResult(self.name, str(self._folder), len(series), missing)

    def retire(self, configured: Configured) -> list[str]:
        """Remove our files that belong to nothing that is configured; their names, in order.

        Raises:
            StoreError: a file could not be read or removed.
        """
        retired = [name for name in self._files.names("") if _OURS.fullmatch(name)]
        retired = [name for name in retired if not configured.covers(self._labels(name))]
        for name in retired:
            self._files.remove_file(name)
        return retired

    def _labels(self, name: str) -> dict[str, str]:
        """The labels of a file's first series; none if somebody else wrote it."""
        from prometheus_client.parser import text_string_to_metric_families

        text = self._files.read(name, MAX_BYTES).decode("utf-8", "replace")
        try:
            samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        except ValueError:
            return {}
        return dict(samples[0].labels) if samples else {}


def file_name(part: str, key: Labels, metric: str = "") -> str:
    """Name of the file of one group, at most 130 characters."""
    digest = hashlib.sha256(repr((part, key, metric)).encode()).hexdigest()[:12]
    words = "-".join(value for _, value in key) or "all"
    return f"{PREFIX}{part}-{re.sub('[^A-Za-z0-9._-]', '_', words)[:80]}-{digest}{SUFFIX}"


def _files(group: Group) -> list[tuple[str, list[Series]]]:
    if group.part != "operation":
        return [(file_name(group.part, group.key), group.series)]
    by_metric: dict[str, list[Series]] = {}
    for one in group.series:
        by_metric.setdefault(one.name, []).append(one)
    return [(file_name(group.part, group.key, name), series) for name, series in by_metric.items()]
