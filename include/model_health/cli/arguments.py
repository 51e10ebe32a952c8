"""Kinds of argument that several commands take. Knows argparse alone."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number from 1 on; argparse turns either error into a usage message."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value
