"""Reads result files and puts together what belongs together. Knows no bars."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from model_health.bench.records import Block, Cell, Extra, Extras, How, Machine, parse_block, read_json
from model_health.errors import BadInput

if TYPE_CHECKING:
    from model_health.bench.operations import Counted


@dataclass
class Results:
    """Everything that was measured on one machine."""

    machine: Machine
    cells: dict[tuple[Cell, How], list[Block]] = field(default_factory=dict)
    extras: dict[str, list[Extra]] = field(default_factory=dict)

    def values_of(self, name: str) -> list[float]:
        """All values of one extra."""
        return [value for extra in self.extras.get(name, []) for value in extra.values]

    @property
    def measured(self) -> list[Block | Extra]:
        """Everything that carries a date, versions and a commit."""
        blocks = [block for blocks in self.cells.values() for block in blocks]
        return [*blocks, *(extra for extras in self.extras.values() for extra in extras)]


def read_results(paths: Iterable[Path]) -> tuple[list[Results], Counted | None]:
    """Results by machine, in the order in which machines appear, and the counted operations if a file holds them.

    Raises:
        BadInput: a file is none of ours.
    """
    machines: list[Results] = []
    counted: Counted | None = None

    def of(machine: Machine) -> Results:
        found = next((results for results in machines if results.machine == machine), None)
        if found is None:
            machines.append(found := Results(machine))
        return found

    for path in paths:
        text = read_json(path)
        what = _what(text, path)
        if what == "cell":
            block = parse_block(text, str(path))
            of(block.machine).cells.setdefault((block.cell, block.how), []).append(block)
        elif what == "extras":
            for extra in _extras(text, path):
                of(extra.machine).extras.setdefault(extra.name, []).append(extra)
        elif what == "operations":
            from model_health.bench.operations import read_expected

            counted = read_expected(path)
        else:
            raise BadInput(f"holds {what!r}, which is no benchmark result", subject=str(path))
    return machines, counted


def _what(text: str, path: Path) -> Any:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(f"is no JSON: {error}", subject=str(path)) from error
    return content.get("what") if isinstance(content, dict) else None


def _extras(text: str, path: Path) -> tuple[Extra, ...]:
    try:
        return Extras.model_validate_json(text).extras
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise BadInput(f"is no benchmark result: {first['msg']}", subject=str(path)) from error
