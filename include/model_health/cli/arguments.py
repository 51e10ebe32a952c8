"""Kinds of argument that several commands take. Knows argparse alone."""

from __future__ import annotations

import argparse

LARGEST = 2**31 - 1
"""The largest whole number that every database can compare a column with."""


def positive(text: str) -> int:
    """A whole number from 1 to `LARGEST`; argparse turns any error into a usage message."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    if value > LARGEST:
        raise argparse.ArgumentTypeError(f"{value} is more than {LARGEST}")
    return value
