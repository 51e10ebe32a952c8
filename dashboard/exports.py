"""Rows as CSV. Pure: cells in, text out; nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

_FORMULA = re.compile(r"^[=+\-@\t\r]")


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table with a header line; the columns are those of all rows, in the order in which they appear.

    Times are ISO 8601 in UTC, lists are joined by `; `, what was not measured is an empty cell. Text that a spreadsheet
    would take for a formula gets an apostrophe before it.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([_cell(name) for name in columns])
    writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)
    return out.getvalue()


def file_name(*parts: str) -> str:
    """A file's name of any texts: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(part for part in parts if part)).strip("-.")[:120] or "export"


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, list | tuple | set):
        value = "; ".join(str(item) for item in value)
    if isinstance(value, str):
        return f"'{value}" if _FORMULA.match(value) else value
    return value
