"""What this process holds: memory, open files, sockets; and what a folder and an index hold. Reads /proc (Linux)."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select

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


def slope(values: Sequence[float]) -> float:
    """Growth per step: the least-squares line through the values; 0 for fewer than two."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    over = sum((place - middle) * (value - mean) for place, value in enumerate(values))
    return over / sum((place - middle) ** 2 for place in range(count))
