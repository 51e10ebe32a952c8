"""What the pages say: with nothing, with runs of every state, and when the index cannot be read."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import data
from model_health.store.index.index import Index
from model_health.store.index.records import RunResult
from support.index_rows import IDENTITY, failed_run, measured_run, sample, start
from support.pages import told

Opener = Callable[..., AppTest]


def column(page: AppTest, name: str, table: int = 0) -> list[Any]:
    return page.dataframe[table].value[name].tolist()


def metrics(page: AppTest) -> dict[str, str]:
    return {box.label: box.value for box in page.metric}


# ----------------------------------------------------------------------------------------------------------- nothing
def test_without_an_index_the_page_says_how_to_make_a_first_run(index_path: Path, page: Opener) -> None:
    runs = page("app_pages/runs")
    assert not runs.exception
    assert "No run has been recorded yet" in told(runs)
    assert "make run" in told(runs)
    assert not index_path.exists(), "looking must not create a database"


def test_an_empty_index_is_no_fault(index: Index, page: Opener) -> None:
    runs = page("app_pages/runs")
    assert not runs.exception
    assert not runs.error
    assert "No run has been recorded yet" in told(runs)


def test_a_first_run_appears_without_a_restart(index: Index, page: Opener) -> None:
    runs = page("app_pages/runs")
    measured_run(index)
    next(button for button in runs.button if button.label == "Look again").click()
    runs.run()
    assert column(runs, "Model") == ["smollm2-135m"]


def test_the_page_of_one_run_says_that_there_is_none(index: Index, page: Opener) -> None:
    run = page("app_pages/run")
    assert not run.exception
    assert "No run has been recorded yet" in told(run)


# -------------------------------------------------------------------------------------------------------------- runs
def test_a_measured_run_is_listed_with_its_verdict_prompts_and_flags(index: Index, page: Opener) -> None:
    measured_run(index, sick=1)
    runs = page("app_pages/runs")
    assert not runs.exception
    assert not runs.warning
    assert column(runs, "State") == ["✖ unhealthy"]
    assert column(runs, "Suite") == ["core"]
    assert column(runs, "Prompts") == [3]
    assert column(runs, "Unhealthy") == [1]
    assert column(runs, "Flags") == [["repetition_loop_detected"]]
    assert column(runs, "Took") == ["1 min 35 s"]
    assert metrics(runs)["Unhealthy prompts"] == "1 of 3"


def test_a_run_that_could_not_be_measured_says_why_and_shows_no_zero(index: Index, page: Opener) -> None:
    failed_run(index, reason="weights are truncated at 12 of 260 MB")
    runs = page("app_pages/runs")
    assert column(runs, "State") == ["∅ could not measure"]
    assert column(runs, "Why") == ["weights are truncated at 12 of 260 MB"]
    assert column(runs, "Prompts") == [None]
    assert column(runs, "Unhealthy") == [None]
    assert metrics(runs)["Unhealthy prompts"] == "–"


def test_a_run_in_progress_and_one_that_died_look_different(index: Index, page: Opener) -> None:
    start(index, run_id="now")
    start(index, run_id="long ago", ago=timedelta(hours=1))
    runs = page("app_pages/runs")
    assert column(runs, "State") == ["▶ running", "† died silently"]
    assert "no sign of life for 1 h" in str(column(runs, "Why")[1])


def test_the_newest_run_comes_first(index: Index, page: Opener) -> None:
    measured_run(index, run_id="old", ago=timedelta(minutes=50))
    measured_run(index, run_id="new", sick=2)
    runs = page("app_pages/runs")
    assert column(runs, "Run") == ["new", "old"]
    assert metrics(runs)["Newest run"] == "✖ unhealthy"


def test_a_model_that_nobody_looks_at_any_more_is_named(index: Index, page: Opener) -> None:
    measured_run(index, model="forgotten", ago=timedelta(hours=5))
    measured_run(index, model="fresh")
    runs = page("app_pages/runs")
    assert [box.value.replace("\\", "") for box in runs.warning] == [
        "forgotten on core: the newest run started 5 h ago. Is `run_canaries` paused?"
    ]


def test_choosing_a_model_hides_the_others(index: Index, page: Opener) -> None:
    measured_run(index, model="a")
    measured_run(index, model="b", suite="smoke")
    runs = page("app_pages/runs")
    assert sorted(map(str, column(runs, "Model"))) == ["a", "b"]
    runs.selectbox(key="model").select("b").run()
    assert column(runs, "Model") == ["b"]
    runs.selectbox(key="suite").select("core").run()
    assert "No run matches" in told(runs)


# ----------------------------------------------------------------------------------------------------------- one run
def test_the_page_of_a_run_shows_its_prompts_and_their_metrics(index: Index, page: Opener) -> None:
    key = measured_run(index, sick=1)
    run = page("app_pages/run", run=key)
    assert not run.exception
    assert metrics(run)["State"] == "✖ unhealthy"
    assert metrics(run)["Unhealthy prompts"] == "1 of 3"
    assert column(run, "Prompt") == ["prompt-3", "prompt-1", "prompt-2"]
    assert column(run, "Health") == ["✖ unhealthy", "✔ healthy", "✔ healthy"]
    assert [list(flags) for flags in column(run, "Flags")] == [["repetition_loop_detected"], [], []]
    assert [list(flags) for flags in column(run, "Others")] == [["attention_collapse_detected"]] * 3
    assert column(run, "Per token (ms)") == pytest.approx([20.5] * 3)
    assert column(run, "Mean entropy (bits)") == [3.5, 1.5, 2.5]


def test_the_page_of_a_run_says_what_was_not_measured_and_why(index: Index, page: Opener) -> None:
    run = page("app_pages/run", run=measured_run(index))
    assert column(run, "Not measured", table=1) == ["Mean attention entropy (bits)"]
    assert column(run, "Reason", table=1) == ["attention of this family is not dispatched"]
    assert column(run, "Prompts", table=1) == ["prompt-1, prompt-2, prompt-3"]


def test_the_page_of_a_run_says_exactly_what_was_measured(index: Index, page: Opener) -> None:
    run = page("app_pages/run", run=measured_run(index))
    table = next(frame.value for frame in run.dataframe if "Value" in frame.value.columns)
    facts = dict(zip(table.iloc[:, 0], table["Value"], strict=True))
    assert facts["Weights digest"].startswith("sha256:ab12")
    assert (facts["Library torch"], facts["Library transformers"]) == ("2.13.0", "5.23.0")
    assert facts["Quantisation"] == "not recorded"


def test_a_missing_number_is_an_empty_cell_not_a_zero(index: Index, page: Opener) -> None:
    run = page("app_pages/run", run=measured_run(index))
    assert run.dataframe[0].value["Mean attention entropy (bits)"].isna().all()


def test_the_page_of_a_run_that_failed_shows_reason_and_log(index: Index, page: Opener) -> None:
    key = failed_run(index, reason="the child was killed [SIGKILL]", log_tail="loading ...\nKilled")
    run = page("app_pages/run", run=key)
    assert not run.exception
    assert "Not measured: the child was killed [SIGKILL]" in told(run)
    assert run.code[0].value == "loading ...\nKilled"
    assert "no prompts" in told(run)


def test_an_unknown_run_is_said_to_be_unknown(index: Index, page: Opener) -> None:
    measured_run(index)
    run = page("app_pages/run", run="smollm2-135m/core/gone")
    assert not run.exception
    assert "holds no run smollm2-135m/core/gone" in told(run)


def test_text_from_a_run_does_not_act_as_markdown(index: Index, page: Opener) -> None:
    key = failed_run(index, reason="**bold** [link](http://example.invalid) $x$ :red[x]")
    run = page("app_pages/run", run=key)
    shown = run.error[0].value
    assert r"\*\*bold\*\*" in shown
    assert "](" not in shown.replace(r"\]\(", "")
    assert ":red[" not in shown


# ---------------------------------------------------------------------------------------------------------- bad index
def test_a_damaged_index_is_said_in_one_line_and_is_no_traceback(index_path: Path, page: Opener) -> None:
    index_path.write_bytes(b"this is not a database, not even a little one" * 40)
    for name in ("app_pages/runs", "app_pages/run"):
        shown = page(name)
        assert not shown.exception
        assert len(shown.error) == 1
        assert "cannot be read" in shown.error[0].value
        assert str(index_path.name) in shown.error[0].value.replace("\\", "")
        assert "\n" not in shown.error[0].value


def test_an_index_of_another_version_is_refused_and_left_alone(index: Index, index_path: Path, page: Opener) -> None:
    measured_run(index)
    with sqlite3.connect(index_path) as connection:
        connection.execute("UPDATE model_health_version SET version_num = '9999'")
    shown = page("app_pages/runs")
    assert not shown.exception
    assert "9999" in shown.error[0].value
    with sqlite3.connect(index_path) as connection:
        assert connection.execute("SELECT version_num FROM model_health_version").fetchone() == ("9999",)


def test_a_wrong_setting_is_said_in_one_line(index_path: Path, page: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_HEALTH_INDEX_URL", "mysql://user:secret@host/db")
    shown = page("app_pages/runs")
    assert not shown.exception
    assert "mysql" in shown.error[0].value
    assert "secret" not in shown.error[0].value


def test_after_the_index_is_mended_the_page_recovers(index: Index, index_path: Path, page: Opener) -> None:
    measured_run(index)
    shown = page("app_pages/runs")
    with sqlite3.connect(index_path) as connection:
        connection.execute("ALTER TABLE runs RENAME TO elsewhere")
    data.forget()
    assert "cannot be read" in shown.run().error[0].value
    with sqlite3.connect(index_path) as connection:
        connection.execute("ALTER TABLE elsewhere RENAME TO runs")
    next(button for button in shown.button if button.label == "Try again").click()
    shown.run()
    assert not shown.error
    assert column(shown, "Model") == ["smollm2-135m"]


def test_a_null_fact_of_a_prompt_has_its_reason_on_the_page(index: Index, page: Opener) -> None:
    attempt, began = start(index)
    slow = sample("p", time_to_first_token_seconds=None, not_measured={"time_to_first_token_seconds": "no clock"})
    result = RunResult(began, IDENTITY, "m", "d", "0.3.0", "1.0.0", verdict="healthy")
    index.finish_run(attempt, result, [slow], [])
    run = page("app_pages/run", run=attempt.run_key)
    assert column(run, "First token (s)") == [None]
    assert column(run, "Not measured", table=1) == ["Time to first token (seconds)"]
    assert column(run, "Reason", table=1) == ["no clock"]
