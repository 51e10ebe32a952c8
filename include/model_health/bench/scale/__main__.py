"""Runs the command line: `python -m model_health.bench.scale`."""

from __future__ import annotations

import sys

from model_health.bench.scale.command import main

if __name__ == "__main__":
    sys.exit(main())
