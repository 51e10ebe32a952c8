"""Servers for the store's tests: started once, on loopback, by whoever first asks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from model_health.store.index.index import Index
from support.postgres import Postgres, postgres_server
from support.s3 import S3, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def index_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/index.db"
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database() as url:
        yield url


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def shared_index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    """An open index that the tests of one module share; each empties it, which is quicker than to make another."""
    if request.param == "sqlite":
        with Index.open(tmp_path_factory.mktemp("shared") / "index.db") as opened:
            yield opened
        return
    server: Postgres = request.getfixturevalue("postgres")
    with server.new_database() as url, Index.open(url) as opened:
        yield opened
