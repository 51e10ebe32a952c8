"""What an opened page of the dashboard says, and what its tables hold."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest


def told(page: AppTest) -> str:
    """Everything that the page says in prose, without the escapes of its Markdown."""
    boxes = [
        *page.title, *page.success, *page.info, *page.warning, *page.error, *page.markdown, *page.caption, *page.code,
        *page.text,
    ]  # fmt: skip
    return "\n".join(str(box.value) for box in boxes).replace("\\", "")


def column(page: AppTest, name: str) -> list[Any]:
    """The column of that name of the first table that has one."""
    return next(table.value[name].tolist() for table in page.dataframe if name in table.value.columns)
