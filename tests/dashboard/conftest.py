"""The dashboard as a user's browser would meet it: the real pages on a real index, without a server."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest

import data
from model_health.store.index.index import Index
from support.dashboard_history import fleet_history, present
from support.dashboards import Seeded, seed_dashboard

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"
Opener = Callable[..., AppTest]


@pytest.fixture(scope="session", autouse=True)
def _components_are_looked_for_once() -> Iterator[None]:
    """Streamlit searches every installed package for components at each opening of a page: half a second of each."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", once)
        yield


@pytest.fixture(scope="module", autouse=True)
def _a_module_has_its_own_present() -> None:
    """The pages compare with the real clock, so what is "ten minutes ago" must be so when the module runs."""
    present.cache_clear()


@pytest.fixture
def index_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the dashboard looks for the index; nothing is there yet."""
    path = tmp_path / "index.db"
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(tmp_path))
    monkeypatch.setenv("MODEL_HEALTH_INDEX_URL", f"sqlite:///{path}")
    data.forget()
    return path


@pytest.fixture(scope="session")
def empty_index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index that nothing was written to: its tables are made once."""
    path = tmp_path_factory.mktemp("empty") / "index.db"
    Index.open(path).close()
    return path


@pytest.fixture
def index(index_path: Path, empty_index: Path) -> Iterator[Index]:
    """An empty index, where the dashboard looks for it."""
    shutil.copy(empty_index, index_path)
    with Index.open(index_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a fleet's history: models in every condition."""
    folder = tmp_path_factory.mktemp("fleet")
    with Index.open(folder / "index.db") as index:
        fleet_history(index, present())
    return folder


@pytest.fixture
def full(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dashboard looks at that fleet."""
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(home))
    monkeypatch.setenv("MODEL_HEALTH_INDEX_URL", f"sqlite:///{home / 'index.db'}")
    data.forget()
    return home


@pytest.fixture
def page() -> Opener:
    """Opens a page by name, with query parameters, and runs it once."""

    def open_page(name: str = "streamlit_app", **query: str) -> AppTest:
        test = AppTest.from_file(str(DASHBOARD / f"{name}.py"), default_timeout=60)
        for key, value in query.items():
            test.query_params[key] = value
        return test.run()

    return open_page


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    """A store with healthy and sick runs, real reports, and old traces: made once, never written to."""
    return seed_dashboard(tmp_path_factory.mktemp("dashboard"))


@pytest.fixture
def on_seeded(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> Seeded:
    """Points the pages at the seeded store."""
    for name, value in seeded.environment.items():
        monkeypatch.setenv(name, value)
    return seeded
