"""Starts the dashboard's server with all that its pages import loaded: seconds that the first visitor does not wait.

Takes the options of `streamlit run`: `python dashboard/serve.py --server.port=9000`. Draws nothing.
"""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from pathlib import Path

from streamlit.web import cli

FOLDER = Path(__file__).resolve().parent
LATE = ("pandas", "pyarrow")
"""What Streamlit itself imports with the first table that it draws."""


def imported(folder: Path) -> list[str]:
    """The modules that files of a folder import at their top, but for the folder's own, each once."""
    files = sorted(folder.rglob("*.py"))
    own = {file.stem for file in files}
    names: dict[str, None] = {}
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                names.update(dict.fromkeys(alias.name for alias in node.names))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names[node.module] = None
    return [name for name in names if name.partition(".")[0] not in own]


def load(names: list[str]) -> None:
    """Import them, and take them out of what is searched for garbage whenever a page is drawn."""
    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    load([*LATE, *imported(FOLDER)])
    sys.exit(cli.main(["run", str(FOLDER / "streamlit_app.py"), *sys.argv[1:]]))
