"""`model-health baseline` as a person uses it, on a tiny model: create, list, show, promote, diff."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from model_health.cli.main import main
from model_health.runner.canary import run_canaries
from model_health.runner.request import RunRequest
from support.configs import make_settings
from support.projects import tiny_project

PROMPTS = [{"id": "one", "text": "Hello there", "golden": " my friend"}, {"id": "two", "text": "The sun"}]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with two runs, and the environment that names it."""
    folder = tmp_path_factory.mktemp("baselines")
    settings = tiny_project(folder, prompts=PROMPTS, batch_size=2)
    for run_id in ("night-1", "night-2"):
        run_canaries(RunRequest(model="tiny", run_id=run_id), settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODEL_HEALTH_HOME", str(folder))
        yield folder


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(["baseline", *argv])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def answer(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    code, out, err = call(capsys, *argv, "--json")
    assert code == 0, err
    return json.loads(out)


def create(capsys: pytest.CaptureFixture[str], reason: str, *more: str) -> str:
    made = answer(capsys, "create", "--model", "tiny", "--reason", reason, *more)
    return str(made["baseline"])


def test_a_baseline_is_made_listed_shown_promoted_and_compared(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "list", "--model", "tiny")
    assert (code, out) == (0, "nothing\n")
    first = create(capsys, "the first", "--runs", "2", "--promote", "--by", "a person")
    second = create(capsys, "the second", "--run-id", "night-1", "--no-tolerances")
    rows = {row["reason"]: row for row in answer(capsys, "list")}
    assert (rows["the first"]["promoted"], rows["the second"]["promoted"]) == (True, False)
    assert (rows["the first"]["by"], rows["the first"]["runs"], rows["the second"]["runs"]) == ("a person", 2, 1)

    shown = answer(capsys, "show", "tiny/smoke")
    assert f"tiny/smoke/{shown['baseline_id']}" == first
    assert shown["reproducible"] is True
    assert shown["agreeing"] == {"one": 2, "two": 2}
    assert shown["tolerances"]["floors"]
    assert [one["replaced"] for one in shown["promotions"]] == [None]
    assert {item["item_id"] for item in shown["items"]} == {"one:continuation", "one:golden", "two:continuation"}
    code, out, _ = call(capsys, "show", second)
    assert code == 0
    assert "golden surprisal, bits per token" in out

    code, _, err = call(capsys, "promote", first, "--reason", "again")
    assert (code, err.count("\n")) == (2, 1)
    assert "is promoted already, by a person" in err
    promotion = answer(capsys, "promote", second.rpartition("/")[2][:10], "--reason", "a better one")
    assert promotion["replaced"] == shown["baseline_id"]
    assert f"tiny/smoke/{answer(capsys, 'show', 'tiny/smoke')['baseline_id']}" == second

    assert answer(capsys, "diff", first, second)["identical"] is True

    # one weight moves; the run that stands behind the baseline must have seen it
    weights = home / "weights/tiny/model.safetensors"
    before = weights.read_bytes()
    moved = load_file(weights)
    moved["model.layers.2.mlp.down_proj.weight"][0, 0] += 1e-4
    save_file(moved, weights, metadata={"format": "pt"})
    code, _, err = call(capsys, "create", "--model", "tiny", "--reason", "too early")
    assert code == 2
    assert "had other weights than the model has now" in err
    run_canaries(RunRequest(model="tiny", run_id="night-3"), make_settings(home))
    third = create(capsys, "other weights", "--no-tolerances")
    code, out, _ = call(capsys, "diff", second, third, "--json")
    found = json.loads(out)
    assert (code, found["axes"], found["identical"]) == (1, ["weights"], False)
    assert {item["first_state"] for item in found["items"]} == {"layer.2"}
    weights.write_bytes(before)

    # a suite that asks something else cannot be compared
    asked = home / "configs/canaries/smoke.yaml"
    kept = asked.read_text()
    asked.write_text(kept.replace(" my friend", " my enemy"))
    run_canaries(RunRequest(model="tiny", run_id="night-4"), make_settings(home))
    fourth = create(capsys, "another suite", "--no-tolerances")
    asked.write_text(kept)
    code, out, err = call(capsys, "diff", first, fourth)
    assert code == 4
    assert "not comparable: another suite" in err


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("create", "--model", "nobody", "--reason", "x"), "nobody"),
        (("create", "--model", "tiny", "--reason", " "), "--reason needs 1 to 2000 characters"),
        (("create", "--model", "tiny", "--reason", "x", "--by", "y" * 201), "--by needs 1 to 200 characters"),
        (("create", "--model", "tiny", "--reason", "x", "--run-id", "nothing"), "no such finished run"),
        (("create", "--model", "tiny", "--reason", "x", "--runs", "99"), "needed: 99"),
        (("show", "tiny/nothing"), "no promoted baseline"),
        (("show", "0123"), "shorter than 6"),
        (("promote", "tiny/smoke/ffffffff", "--reason", "x"), "there is no such baseline"),
        (("diff", "ffffffff", "eeeeeeee"), "there is no such baseline"),
        (("list", "--suite", "smoke"), "--suite needs --model"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    home: Path, capsys: pytest.CaptureFixture[str], argv: tuple[str, ...], complaint: str
) -> None:
    code, out, err = call(capsys, *argv)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert complaint in err


def test_a_changed_byte_is_an_error_and_exit_code_3(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = create(capsys, "to be damaged", "--no-tolerances", "--run-id", "night-1")
    [arrays] = home.rglob(f"{reference.rpartition('/')[2]}/arrays.safetensors.gz")
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(data)
    code, _, err = call(capsys, "show", reference)
    assert code == 3
    assert "the file was changed after it was written" in err
    code, _, err = call(capsys, "promote", reference, "--reason", "x")
    assert code == 3


@pytest.mark.parametrize("missing", [("create", "--model", "tiny"), ("promote", "tiny/smoke")])
def test_nothing_happens_without_a_reason(missing: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["baseline", *missing])
    assert "--reason" in capsys.readouterr().err


def test_baselines_are_listed_without_loading_torch(repository: Path, home: Path) -> None:
    program = (
        "import sys\nfrom model_health.cli.main import main\nassert main(['baseline', 'list']) == 0\n"
        "assert not {'torch', 'transformers', 'pandas', 'scipy'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"MODEL_HEALTH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
