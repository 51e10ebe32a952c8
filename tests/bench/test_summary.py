"""What rose beyond its noise since an earlier result is said; what did not, or cannot be compared, as well."""

from __future__ import annotations

from model_health.bench.records import Cell
from model_health.bench.summary import risen
from support.benchmarks import MACHINE, rounds

BEFORE = rounds("standard", [1.02, 1.03, 1.04])


def test_a_price_beyond_both_intervals_has_risen() -> None:
    told = list(risen(BEFORE, rounds("standard", [1.06, 1.07, 1.08])))
    assert any(line.startswith("  standard, decode (cpu): +7.0 % [+6.0, +8.0] now, +3.0 %") for line in told)


def test_intervals_that_touch_are_noise() -> None:
    (line,) = risen(BEFORE, rounds("standard", [1.035, 1.05, 1.06]))
    assert line.startswith("  nothing rose")


def test_a_price_that_fell_has_not_risen() -> None:
    (line,) = risen(BEFORE, rounds("standard", [1.0, 1.0, 1.01]))
    assert line.startswith("  nothing rose")


def test_another_machine_or_cell_is_not_compared() -> None:
    for other in (
        rounds("standard", [2.0], machine=MACHINE.model_copy(update={"gpu": "Some GPU"})),
        rounds("standard", [2.0], cell=Cell(model="m", batch=2, prompt=8)),
    ):
        (line,) = risen(BEFORE, other)
        assert "not held against" in line
