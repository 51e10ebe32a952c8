"""BENCHMARKS.md says what the result files say: bars with where they stand, machines apart, damage refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.bench.bars import CELL_BARS, EXTRA_BARS, cell_lines, extra_lines, standing
from model_health.bench.command import main
from model_health.bench.ratios import Estimate
from model_health.bench.records import EVENTS, Cell
from model_health.bench.render import document
from model_health.bench.results import Results, read_results
from support.benchmarks import CELL, MACHINE, block, extras, rounds, run, save

OTHER = Cell(model="m", batch=1, prompt=16)
COUNTS = Path(__file__).with_name("operation_counts.json")


def results_of(tmp_path: Path, *found: object) -> Results:
    (results,), _ = read_results(save(tmp_path, *found))  # type: ignore[arg-type]
    return results


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(1.0, 1.02, "met"), (1.01, 1.03, "open"), (1.021, 1.03, "not met"), (1.02, 1.021, "open")],
)
def test_a_bar_is_open_while_the_interval_lies_across_it(low: float, high: float, expected: str) -> None:
    assert standing(Estimate((low + high) / 2, low, high, 3), 1.02) == expected


@pytest.mark.parametrize(("factor", "expected"), [(1.01, "met"), (1.05, "not met")])
def test_decode_is_held_to_its_bar_apart_from_prefill(tmp_path: Path, factor: float, expected: str) -> None:
    lines = {line.bar: line for line in cell_lines(results_of(tmp_path, rounds("standard", [factor] * 3)))}
    assert set(lines) == {CELL_BARS[0].text, CELL_BARS[4].text}
    assert lines[CELL_BARS[0].text].standing == expected
    assert lines[CELL_BARS[0].text].measured.startswith(f"+{100 * (factor - 1):.1f} %")
    assert lines[CELL_BARS[4].text].measured.startswith("+8.0 %")


@pytest.mark.parametrize(
    ("cell", "bars"),
    [
        (Cell(model="m", batch=16, prompt=256), {0, 4, 5}),
        (Cell(model="m", batch=16, prompt=16), {1}),
        (Cell(model="m", batch=1, prompt=256), {2, 4}),
        (Cell(model="m", batch=64, prompt=1024), {0}),
    ],
)
def test_each_cell_is_held_to_the_bars_of_its_shape(tmp_path: Path, cell: Cell, bars: set[int]) -> None:
    found = results_of(tmp_path, rounds("standard", [1.01], cell=cell, peaks=[("plain", 100), ("standard", 101)]))
    assert {line.bar for line in cell_lines(found)} == {CELL_BARS[at].text for at in bars}


def test_flags_have_a_bar_of_their_own(tmp_path: Path) -> None:
    (line,) = cell_lines(results_of(tmp_path, rounds("flags", [1.02])))
    assert (line.bar, line.standing) == (CELL_BARS[3].text, "not met")


def test_lockstep_is_what_counts_where_both_were_measured(tmp_path: Path) -> None:
    found = results_of(tmp_path, rounds("flags", [1.5], how="whole"), rounds("flags", [1.0]))
    (line,) = cell_lines(found)
    assert line.standing == "met"


def test_extras_are_shown_in_the_unit_of_their_bar(tmp_path: Path) -> None:
    found = results_of(tmp_path, extras(report_bytes=[50_000.0, 51_000.0, 52_000.0], writing_share=[0.03]))
    lines = {line.bar: line for line in extra_lines(found)}
    assert lines[EXTRA_BARS[2].text].measured == "51 KB [50, 52]"
    assert lines[EXTRA_BARS[2].text].standing == "met"
    assert lines[EXTRA_BARS[1].text].standing == "not met"


def test_a_missed_bar_says_why_once_and_a_met_one_says_nothing(tmp_path: Path) -> None:
    missed = document([results_of(tmp_path, rounds("flags", [1.02]), rounds("flags", [1.03], cell=OTHER))], None)
    assert missed.count(CELL_BARS[3].why) == 1
    met = document([results_of(tmp_path / "met", rounds("flags", [1.001]))], None)
    assert CELL_BARS[3].why not in met
    assert "missed" not in met


def test_a_profile_is_a_table_of_events_by_cell(tmp_path: Path) -> None:
    shares = {"profile_1x16_logits": [0.01, 0.02, 0.03], "profile_16x256_logits": [0.013]}
    page = document([results_of(tmp_path, extras(**shares))], None)
    assert "| event | 1 x 16 | 16 x 256 |" in page
    assert f"| {EVENTS['logits']} | 2.0 % [1.0, 3.0] | 1.3 % [1.3, 1.3] |" in page
    assert "profile_" not in page


@pytest.mark.parametrize(("load", "said"), [((9.5, 9.0, 8.0), True), ((1.5, 1.0, 1.0), False), (None, False)])
def test_a_machine_that_was_shared_says_so(tmp_path: Path, load: tuple[float, float, float] | None, said: bool) -> None:
    one = rounds("flags", [1.0], machine=MACHINE.model_copy(update={"cores": 2}))
    page = document([results_of(tmp_path, one.model_copy(update={"load_average": load}))], None)
    assert ("The machine was shared: load averages of 9.5 to 9.5 on 2 cores." in page) == said
    assert ("was shared" in page) == said


def test_processes_are_merged_and_machines_are_not(tmp_path: Path) -> None:
    other = MACHINE.model_copy(update={"gpu": "Some GPU"})
    blocks = [rounds("flags", [1.0]), rounds("flags", [1.2]), rounds("flags", [1.1], machine=other)]
    first, second = read_results(save(tmp_path, *blocks))[0]
    assert len(first.cells[CELL, "lockstep"]) == 2
    assert second.machine == other
    assert len(second.cells[CELL, "lockstep"]) == 1


def test_the_page_holds_every_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = [rounds("standard", [1.01, 1.02], peaks=[("plain", 100), ("standard", 102)]), extras(suite_cpu=[1.04])]
    files = save(tmp_path, *made, block([run("plain", 0, 1.0), run("again", 0, 1.0)], how="whole"))
    assert main(["render", *map(str, files), str(COUNTS)]) == 0
    page = capsys.readouterr().out
    for part in ("# Benchmarks", "Some CPU, 2 cores, 8 GiB", "torch 2.13", "2026-01-02", "code abc",
                 "How to measure again",
                 "| llama-12 | 16 x 256 + 64, 1 thread | standard | 2.00 s | +1.5 % [+1.0, +2.0] |", "about suite_cpu",
                 "a suite of 16 prompts x 64 tokens: at most 1.05 x plain |  | 1.04 x [1.04, 1.04] | met",
                 "Counted operations", "| whole | +0.0 %"):  # fmt: skip
        assert part in page


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is no JSON"), ("[]", "holds None"), ('{"what": "cell"}', "is no benchmark result"),
     ('{"what": "extras"}', "is no benchmark result"), ('{"what": "x"}', "holds 'x'"),
     ('{"what": "operations"}', "holds no counts")],
)  # fmt: skip
def test_a_damaged_result_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    assert main(["render", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "bad.json" in said
    assert message in said
