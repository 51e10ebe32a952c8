"""Runs the benchmark's command line: `python -m model_health.bench`."""

from __future__ import annotations

import sys

from model_health.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
