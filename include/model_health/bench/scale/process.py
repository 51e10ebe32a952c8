"""What this process holds: memory, open files, sockets; and what a folder and an index hold. Reads /proc (Linux)."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import bindparam, func, select, text

from model_health.store.index.index import Index
from model_health.store.index.tables import metadata


def resident_bytes() -> int:
    """Resident memory, garbage collected first."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_files() -> list[str]:
    """What each open descriptor is."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except OSError:  # the descriptor of the listing itself
            continue
    return found


def sockets(names: Sequence[str]) -> int:
    """How many of the open files are sockets."""
    return sum(name.startswith("socket:") for name in names)


def files_below(folder: Path) -> tuple[int, int]:
    """How many files lie in a folder, and their bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def rows(index: Index) -> dict[str, int]:
    """How many rows each table has."""
    with index.reading("count rows") as connection:
        return {
            table.name: int(connection.execute(select(func.count()).select_from(table)).scalar_one())
            for table in metadata.sorted_tables
        }


def index_bytes(index: Index) -> int:
    """What the index takes on disk, keys and what was deleted included."""
    with index.reading("ask for the size") as connection:
        if connection.dialect.name == "postgresql":
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        return int(pages * connection.execute(text("PRAGMA page_size")).scalar_one())


def table_bytes(index: Index) -> dict[str, int]:
    """What each table takes with its keys, where the database tells (PostgreSQL); else nothing."""
    with index.reading("ask for sizes") as connection:
        if connection.dialect.name != "postgresql":
            return {}
        size = select(func.pg_total_relation_size(bindparam("name")))
        return {
            table.name: int(connection.execute(size, {"name": table.name}).scalar_one())
            for table in metadata.sorted_tables
        }


def slope(values: Sequence[float]) -> float:
    """Growth per step: the least-squares line through the values; 0 for fewer than two."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    over = sum((place - middle) * (value - mean) for place, value in enumerate(values))
    return over / sum((place - middle) ** 2 for place in range(count))
