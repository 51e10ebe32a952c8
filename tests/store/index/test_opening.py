"""A process that opens an index again and again, as one that simulates hours does, holds no more than before."""

from __future__ import annotations

import atexit
import gc
from pathlib import Path

from sqlalchemy import Engine

from model_health.store.index.index import Index


def test_opening_an_index_again_leaves_nothing_behind(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/index.db"

    def opened() -> tuple[int, int]:
        for _ in range(3):
            with Index.open(url) as index:
                assert index.runs() == []
        gc.collect()
        return atexit._ncallbacks(), sum(isinstance(one, Engine) for one in gc.get_objects())

    assert opened() == opened()
