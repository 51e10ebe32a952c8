"""A measurement of scale on a PostgreSQL of its own: in `tests`, `python -m support.scale_postgres ingest --json F`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from model_health.bench.scale.command import main as measure
from support.postgres import postgres_server


def main(argv: Sequence[str]) -> int:
    """Start a server, measure on an empty database, and return the measurement's exit code."""
    with postgres_server() as server, server.new_database() as url:
        return measure([*argv, "--index", url])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
