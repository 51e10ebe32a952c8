"""Configuration that was edited badly: every key of every file, and every variable of the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.config.gates import load_gates
from model_health.config.load import load_project
from model_health.config.monitors import load_monitors
from model_health.config.settings import SETTING_VARIABLES, Settings, load_settings
from model_health.config.sinks import load_sinks
from model_health.config.sources import resolve_source
from model_health.config.yaml_files import parse_yaml
from model_health.errors import ModelHealthError, ModelSourceError
from support.fuzzing import Guard, attempt, fuzz, one_line
from support.mutations import TEXTS, ByteEdit, Edits, byte_edits, changed, damaged, edits, to_text
from support.yaml_mutations import with_yaml, yaml_edits

ENTRY = "config loader"
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = {
    str(path.relative_to(CONFIGS)): path.read_text(encoding="utf-8")
    for path in (*CONFIGS.glob("*.yaml"), *CONFIGS.glob("models/*.yaml"))
}
PARSED = {name: parse_yaml(text, name=name).data for name, text in FILES.items()}
files = st.sampled_from(sorted(FILES))
SUITES = {
    f"canaries/{name}.yaml": f"name: {name}\nversion: 1.0.0\nprompts: [{{id: one, group: g, text: Hello}}]\n"
    for name in ("core", "smoke")
}


@pytest.fixture
def home(scratch: Path) -> Path:
    """A project in which everything but the suites is as it ships."""
    home = scratch / "own" / "home"
    for name, text in {**FILES, **SUITES}.items():
        path = home / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return home


def read_project(settings: Settings) -> None:
    """Everything that is read of a project: what is broken in a part of it is a problem of that part."""
    project = load_project(settings)
    for problem in project.problems:
        one_line(str(problem.error))
    for model in project.models.values():
        for source in filter(None, (model.source, model.tokenizer)):
            try:
                resolve_source(source, settings.home)
            except ModelSourceError as error:
                one_line(str(error))
        model.labels()
        try:
            project.thresholds_for(model.name, None)
        except ModelHealthError as error:
            one_line(str(error))
    wrong: list[ModelHealthError] = [problem.error for problem in project.problems]
    for load in (load_gates, load_sinks, load_monitors):
        try:
            load(settings)
        except ModelHealthError as error:
            one_line(str(error))
            wrong.append(error)
    if wrong:
        raise wrong[0]


def read_with(home: Path, name: str, data: bytes, variables: dict[str, str] | None = None) -> Callable[[], None]:
    """Reading the project with one file of other content, which is put back."""

    def read() -> None:
        path = home / "configs" / name
        path.write_bytes(data)
        try:
            read_project(load_settings({"MODEL_HEALTH_HOME": str(home), **(variables or {})}))
        finally:
            path.write_text(FILES[name], encoding="utf-8")

    return read


@fuzz(full=1200, short=25)
@given(name=files, changes=st.lists(edits, min_size=1, max_size=3))
def test_a_file_with_other_values_is_read_or_refused(home: Path, name: str, changes: Edits, guard: Guard) -> None:
    data = to_text(changed(PARSED[name], changes)).encode("utf-8", "surrogatepass")
    attempt(ENTRY, read_with(home, name, data), guard)


@fuzz(full=1000, short=20)
@given(name=files, lines=yaml_edits, before=byte_edits)
def test_a_file_with_other_text_is_read_or_refused(
    home: Path, name: str, lines: Any, before: list[ByteEdit], guard: Guard
) -> None:
    data = damaged(with_yaml(FILES[name], lines).encode("utf-8", "surrogatepass"), before[:2])
    attempt(ENTRY, read_with(home, name, data), guard)


SECTIONS = ["MODELS__SMOLLM2_135M", "SUITES__CORE", "THRESHOLDS__DEFAULT", "GATES__RULES__NON_FINITE", "GATES"]
SECTIONS += ["SINKS__DATADOG", "SINKS__PROMETHEUS", "MONITORS", "MONITORS__PROMETHEUS", "MODELS", "NOBODY"]
KEYS = ["SOURCE", "SOURCE__PATH", "TIMEOUT_SECONDS", "MEASURE__TOPK", "LABELS", "URL", "FAIL", "MODELS", "", "X__Y"]
variables = st.dictionaries(
    st.one_of(
        st.sampled_from(sorted(set(SETTING_VARIABLES) - {"MODEL_HEALTH_HOME"})),
        st.builds("MODEL_HEALTH_{}__{}".format, st.sampled_from(SECTIONS), st.sampled_from(KEYS)),
        st.sampled_from(["MODEL_HEALTH_SECRETS__KEY", "MODEL_HEALTH_SECRETS__../x", "MODEL_HEALTH_INDEX_URL_FILE"]),
        st.sampled_from(["model_health_HOME", "MODEL_HEALTH_", "MODEL_HEALTH_HOMES", "MODEL_HEALTH_SECRETS__"]),
    ),
    # An environment holds bytes that are no text as surrogates, and never a NUL.
    st.one_of(st.sampled_from(TEXTS), st.text(max_size=20), st.sampled_from(["1", "true", "[a, b]", "{a: 1}"])).map(
        lambda text: text.replace("\x00", "").replace("\ud800", "\udc80")
    ),
    min_size=1,
    max_size=4,
)


@fuzz(full=1000, short=25)
@given(environ=variables)
def test_an_environment_is_taken_or_refused(home: Path, environ: dict[str, str], guard: Guard) -> None:
    attempt(ENTRY, read_with(home, "gates.yaml", FILES["gates.yaml"].encode(), environ), guard)


@fuzz(full=100, short=8)
@given(name=files, kind=st.sampled_from(["folder", "loop", "link", "gone", "large", "fifo-like"]))
def test_what_is_no_file_is_refused(home: Path, name: str, kind: str, scratch: Path, guard: Guard) -> None:
    path = home / "configs" / name

    def read() -> None:
        path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path)
        elif kind == "link":
            path.symlink_to(scratch / "guard" / "kept")
        elif kind == "large":
            path.write_bytes(b"# " + b"x" * 2**20)
        elif kind == "fifo-like":
            path.symlink_to("/dev/zero")
        try:
            read_project(load_settings({"MODEL_HEALTH_HOME": str(home)}))
        finally:
            if path.is_dir():
                path.rmdir()
            path.unlink(missing_ok=True)
            path.write_text(FILES[name], encoding="utf-8")

    attempt(ENTRY, read, guard)
