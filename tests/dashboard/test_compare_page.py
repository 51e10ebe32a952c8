"""The Compare page: with nothing, with every kind of answer, with old and lost files, and two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import data
from model_health.store.comparisons import RESULT
from model_health.store.index.index import Index
from support.comparisons import OLD_RESULT, made, record
from support.dashboard_runs import report, reported_run
from support.observations import observation
from support.pages import column, told

Opener = Callable[..., AppTest]
PAGE = "app_pages/compare"


@dataclass(frozen=True)
class Seeded:
    """An index and a store with comparisons and runs, by what they are."""

    home: Path
    keys: dict[str, str]

    @property
    def store(self) -> Path:
        return self.home / ".model-health" / "store"


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Seeded:
    home = tmp_path_factory.mktemp("compared")
    store = home / ".model-health" / "store"
    store.mkdir(parents=True)
    keys: dict[str, str] = {}
    with Index.open(store.parent / "index.db") as index:
        keys["same"] = "run:" + record(index, store, made(observation()), run_id="same")
        keys["changed"] = "run:" + record(index, store, made(noise=0.5, first_state=2), run_id="changed")
        keys["worse"] = "candidate:" + record(
            index, store, made(observation(worse=0.6)), run_id="worse", of_run=False, candidate="my <b>model</b>"
        )
        broken = observation()
        broken.items[0].norms[0, 2] = float("nan")
        broken.items[0].non_finite[2] = 1
        keys["broken"] = "run:" + record(index, store, made(broken), run_id="broken")
        keys["old"] = "run:" + record(index, store, run_id="old")
        keys["lost"] = "run:" + record(index, store, made(noise=1e-2), run_id="lost")
        first = [(20, " a"), (21, " b"), (22, " c")]
        other = [(20, " a"), (21, " b"), (99, "<script>alert(1)</script>")]
        keys["run-1"] = reported_run(index, store, "one", prompts={"p": report(tokens=first), "q": report()}, ago=3)
        keys["run-2"] = reported_run(
            index,
            store,
            "two",
            prompts={"p": report(tokens=other, norm=1.5), "r": report()},
            ago=2,
            verdict="unhealthy",
        )
        keys["run-0"] = reported_run(index, store, "zero", prompts={"p": report("0.2.0")}, ago=4)
    for path in store.glob(f"runs/tiny/smoke/old-*/{RESULT}"):
        path.write_text(json.dumps(OLD_RESULT))
    for path in store.glob(f"runs/tiny/smoke/lost-*/{RESULT}"):
        path.unlink()
    return Seeded(home, keys)


@pytest.fixture
def full(seeded: Seeded, monkeypatch: pytest.MonkeyPatch) -> Seeded:
    """The dashboard looks at what was seeded."""
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(seeded.home))
    data.forget()
    return seeded


def numbers(page: AppTest) -> dict[str, str]:
    return {box.label: box.value for box in page.metric}


# ----------------------------------------------------------------------------------------------------------- nothing
@pytest.mark.parametrize("kind", ["With a baseline", "Two runs"])
def test_without_an_index_the_page_says_what_to_do(index_path: Path, page: Opener, kind: str) -> None:
    shown = page(PAGE, kind=kind)
    assert not shown.exception
    assert not shown.error
    assert "yet" in told(shown)
    assert not index_path.exists(), "looking must not create a database"


def test_an_empty_index_is_no_fault(index: Index, page: Opener) -> None:
    shown = page(PAGE)
    assert not shown.exception
    assert "Nothing has been compared with a baseline yet" in told(shown)


def test_one_run_cannot_be_compared_with_itself(index: Index, tmp_path: Path, page: Opener) -> None:
    reported_run(index, tmp_path, "only", prompts={"p": report()})
    shown = page(PAGE, kind="Two runs")
    assert not shown.exception
    assert "two are needed" in told(shown)


def test_a_damaged_index_is_said_in_one_line(index_path: Path, page: Opener) -> None:
    index_path.write_bytes(b"this is not a database, not even a little one" * 40)
    shown = page(PAGE)
    assert not shown.exception
    assert len(shown.error) == 1


# --------------------------------------------------------------------------------------------------- with a baseline
def test_a_change_is_named_with_the_state_where_it_begins(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["changed"])
    assert not shown.exception
    assert "It begins at layer.1" in told(shown)
    assert numbers(shown)["First state out of band"] == "layer.1"
    assert column(shown, "Where") == ["embedding", "layer.0", "layer.1", "layer.2", "final"]
    assert column(shown, "Band")[:3] == ["✔ within", "✔ within", "✖ out of band"]
    assert column(shown, "Prompt")[0] == "all prompts"
    assert len(column(shown, "Prompt")) == 15


def test_harm_fails_and_names_the_prompts_with_their_intervals(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["worse"])
    assert "fail: my <b>model</b> is degraded" in shown.error[0].value.replace("\\", "")
    assert "<b>" not in shown.error[0].value, "a name must not become markup"
    low, mean = column(shown, "Low")[0], column(shown, "Change (bits per token)")[0]
    assert 0.0 < low < mean
    assert column(shown, "Reading")[0] == "worse"


def test_the_same_bits_pass_and_nothing_flipped(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["same"])
    assert not shown.exception
    assert "pass" in shown.success[0].value
    assert numbers(shown)["First state out of band"] == "–"
    assert "No token was looked at for flips" in told(shown)


def test_a_model_that_is_not_finite_has_no_profile_and_says_so(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["broken"])
    assert not shown.exception
    assert "Not finite, first in layer.1" in told(shown)
    assert "Not measured: not finite" in told(shown)
    assert numbers(shown)["Golden text (bits per token)"] == "not measured"


def test_flips_are_listed_with_markup_as_text(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["changed"])
    flips = column(shown, "Now says")
    assert flips
    assert all(text.startswith("␣") for text in flips)
    assert "␣<script>alert(1)</script>" in {*flips, *column(shown, "Baseline says")}
    assert not any("<script>" in str(box.value) for box in shown.markdown)


def test_a_result_of_an_older_version_opens_without_limits(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["old"])
    assert not shown.exception
    assert column(shown, "Where") == ["state 0", "state 1", "state 2"]
    assert set(column(shown, "Band")) == {"? no band known"}
    assert column(shown, "Prompt") == ["all prompts", "sun", "rain"]


def test_a_result_that_is_gone_leaves_what_the_index_keeps(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, comparison=full.keys["lost"])
    assert not shown.exception
    assert "Only what the index keeps is shown" in told(shown)
    assert "beyond tolerance" in told(shown)


@pytest.mark.parametrize("asked", ["run:tiny/smoke/gone", "nonsense", "candidate:../../x"])
def test_an_unknown_comparison_is_said_to_be_unknown(full: Seeded, page: Opener, asked: str) -> None:
    shown = page(PAGE, comparison=asked)
    assert not shown.exception
    assert "holds no comparison" in told(shown)


def test_without_a_request_the_newest_is_shown_and_its_address_is_written(full: Seeded, page: Opener) -> None:
    shown = page(PAGE)
    assert shown.query_params["comparison"] in full.keys.values()
    kept = page(PAGE, comparison=full.keys["worse"], text="Accepted answers")
    assert kept.selectbox[0].value == full.keys["worse"]
    assert column(kept, "Prompt")[0] != "all prompts", "accepted answers have no effect over all prompts"


# --------------------------------------------------------------------------------------------------------- two runs
def test_two_runs_show_where_their_answers_depart(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, kind="Two runs", pair="tiny/smoke", first=full.keys["run-1"], second=full.keys["run-2"])
    assert not shown.exception
    assert "1 of 1 prompts were answered with other tokens" in shown.error[0].value.replace("\\", "")
    assert column(shown, "Answer") == ["✖ differ", "∅ not compared", "∅ not compared"]
    assert column(shown, "First at")[0] == 2
    assert column(shown, "After")[0] == "␣a b"
    assert column(shown, "Second run says")[0] == "<script>alert(1)</script>"
    assert column(shown, "Why not")[1:] == ["no report in the second run", "no report in the first run"]
    assert column(shown, "Where") == ["layer.0", "layer.1", "layer.2"]
    assert "No band" in told(shown)
    assert "By the norms of hidden states" in told(shown), "what two runs cannot show has to be said"


def test_the_newest_run_is_held_against_the_newest_healthy_one(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, kind="Two runs")
    assert shown.query_params["second"] == full.keys["run-2"]
    assert shown.query_params["first"] == full.keys["run-1"]


def test_a_report_of_v0_2_0_is_compared(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, kind="Two runs", pair="tiny/smoke", first=full.keys["run-0"], second=full.keys["run-1"])
    assert not shown.exception
    assert column(shown, "Prompt")


def test_a_run_that_is_gone_is_said_to_be_gone(full: Seeded, page: Opener) -> None:
    shown = page(PAGE, kind="Two runs", pair="tiny/smoke", first="tiny/smoke/gone", second=full.keys["run-1"])
    assert not shown.exception
    assert "holds no run tiny/smoke/gone" in told(shown)


# ------------------------------------------------------------------------------------------------------- hidden texts
def test_hidden_texts_are_nowhere(full: Seeded, page: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_HEALTH_HIDE_TEXT", "true")
    flips = page(PAGE, comparison=full.keys["changed"])
    asked = {"pair": "tiny/smoke", "first": full.keys["run-1"], "second": full.keys["run-2"]}
    for shown in (flips, page(PAGE, kind="Two runs", **asked)):
        assert not shown.exception
        assert "Texts are hidden in this installation" in told(shown)
        titles = {title for table in shown.dataframe for title in table.value.columns}
        assert not titles & {"After", "Baseline says", "Now says", "First run says", "Second run says"}
    assert column(flips, "Flipped"), "counts tell nothing of the texts"
