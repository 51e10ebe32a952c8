"""Finds the run that somebody named: a run key, a run's folder, or its manifest, as a path or a URI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_health.config.settings import Settings
from model_health.errors import BadInput
from model_health.store.names import MANIFEST, RUNS, RunFolder
from model_health.store.reports import ReportStore

DOCS_FOLDER = "data_docs"
HINT = "name a run key (model/suite/folder), a run's folder or its manifest"


@dataclass(frozen=True)
class Place:
    """A run in a store."""

    store: ReportStore
    folder: RunFolder


def find_run(reference: str, settings: Settings) -> Place:
    """The run that `reference` names; whether it exists is not looked at.

    Raises:
        BadInput: it names no run.
        ConfigError: the store's URI is not allowed.
    """
    text = reference.rstrip("/").removesuffix(f"/{MANIFEST}")
    root, _, key = text.rpartition(f"/{RUNS}/") if f"/{RUNS}/" in text else ("", "", text.removeprefix(f"{RUNS}/"))
    parts = key.split("/")
    if len(parts) != 3:
        raise BadInput("names no run", subject=reference, hint=HINT)
    # A path without a root that starts at `runs/` lies below the working directory, like any other path.
    store = root or ("." if text.startswith(f"{RUNS}/") else settings.store_uri)
    return Place(ReportStore.open(store), RunFolder(*parts))


def docs_folder(settings: Settings) -> Path:
    """Where this installation keeps the pages about its validations."""
    return settings.home / ".model-health" / DOCS_FOLDER


def docs_page(settings: Settings, run: RunFolder) -> Path:
    """The page about one run's validation, whether or not it is there."""
    return docs_folder(settings) / RUNS / f"{run.key}.html"
