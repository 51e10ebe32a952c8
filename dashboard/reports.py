"""Reads single reports and manifests for the pages, and keeps what was read. Between the store and the views.

A report is named by its run and prompt, or by a path below the store's root: old traces that no run of ours wrote open
like any other. Raises the library's one-line errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from model_health.config.settings import Settings
from model_health.errors import BadInput
from model_health.report.load import list_reports, load_manifest, load_report
from model_health.report.manifest import Manifest
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from model_health.validate.places import docs_page
from views import PromptView, view_of

KEPT = 12
"""Reports that the server remembers: a few megabytes each."""


@dataclass(frozen=True)
class Listed:
    """A report in a file that holds several."""

    trace_id: str
    says: str


@st.cache_resource(ttl=900, max_entries=KEPT, show_spinner="Reading the report ...")
def report_of_prompt(store_uri: str, run_key: str, prompt_id: str, digest: str | None) -> PromptView:
    """The report of one prompt of a run.

    Args:
        store_uri: of the store.
        run_key: `<model>/<suite>/<folder>`.
        prompt_id: of the prompt.
        digest: of the stored bytes, as far as somebody knows it; another one is an error.
    """
    content = ReportStore.open(store_uri).read_report(folder_of(run_key), prompt_id, digest=digest)
    return view_of(load_report(content, name=f"{run_key}/{prompt_id}"))


@st.cache_resource(ttl=60, max_entries=KEPT, show_spinner="Reading the report ...")
def report_at(store_uri: str, path: str, trace_id: str | None) -> PromptView:
    """The report in any file below the store's root: JSON, gzipped or not, or one of a SQLite file."""
    return view_of(load_report(ReportStore.open(store_uri).read_file(path), trace_id=trace_id, name=path))


@st.cache_data(ttl=60, max_entries=KEPT, show_spinner=False)
def listed(store_uri: str, path: str) -> list[Listed]:
    """The reports that a file holds."""
    found = list_reports(ReportStore.open(store_uri).read_file(path), name=path)
    return [Listed(one.trace_id, f"{one.trace_id} · {one.model_id or 'unknown model'}") for one in found]


@st.cache_data(ttl=60, max_entries=KEPT, show_spinner=False)
def prompts_in_store(store_uri: str, run_key: str) -> list[str]:
    """The prompts that have a report in the store, for a run that the index does not know."""
    return ReportStore.open(store_uri).prompt_ids(folder_of(run_key))


@st.cache_data(ttl=300, max_entries=64, show_spinner=False)
def manifest_of(store_uri: str, run_key: str, digest: str | None) -> Manifest:
    """The manifest of a run."""
    content = ReportStore.open(store_uri).read_manifest(folder_of(run_key), digest=digest)
    return load_manifest(content, name=f"{run_key}/manifest.json")


def data_docs(settings: Settings, run_key: str) -> Path | None:
    """The page that validation wrote about a run; None where this machine has none."""
    page = docs_page(settings, folder_of(run_key))
    return page if page.is_file() else None


def folder_of(run_key: str) -> RunFolder:
    """The folder that a run key names. Raises BadInput."""
    parts = run_key.split("/")
    if len(parts) != 3:
        raise BadInput("names no run", subject=run_key, hint="a run key is model/suite/folder")
    return RunFolder(*parts)


def forget() -> None:
    """Drop what was read."""
    for answer in (report_of_prompt, report_at, listed, prompts_in_store, manifest_of):
        answer.clear()
