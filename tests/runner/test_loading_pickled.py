"""Weights in a pickle: refused unless the configuration asks for them, then read without running any of its code."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model_health.errors import ModelSourceError
from model_health.report.load import load_manifest, load_report
from model_health.runner.canary import run_canaries
from model_health.runner.digests import weights_digest
from model_health.runner.request import RunRequest
from support.loading import load_folder
from support.models import save_tiny_model
from support.projects import tiny_project

PICKLED = "pytorch_model.bin"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A model folder whose weights are a pickle."""
    return pickled(Path(shutil.copytree(saved, tmp_path / "llama")))


def pickled(folder: Path) -> Path:
    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / PICKLED)
    file.unlink()
    return folder


class Bomb:
    """What a pickle runs when it is opened."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.proof),)


def test_by_default_a_pickle_is_refused_and_the_switch_is_named(folder: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"only pickled weights \(pytorch_model\.bin\).*allow_pickled_weights"):
        load_folder(folder)


def test_where_it_is_allowed_the_same_weights_are_read_with_a_warning(folder: Path, saved: Path) -> None:
    loaded = load_folder(folder, allow_pickled_weights=True)
    assert [warning.code for warning in loaded.warnings] == ["pickled_weights"]
    assert PICKLED in loaded.warnings[0].message
    assert weights_digest(loaded.model) == weights_digest(load_folder(saved).model)


def test_the_manifest_and_every_report_of_a_run_tell_of_the_pickle(tmp_path: Path) -> None:
    settings = tiny_project(tmp_path, allow_pickled_weights=True)
    pickled(tmp_path / "weights" / "tiny")
    outcome = run_canaries(RunRequest(model="tiny", suite=None, run_id="r1"), settings)
    manifest = load_manifest(Path(outcome.manifest_uri.removeprefix("file://")))
    assert [warning.code for warning in manifest.warnings or ()] == ["pickled_weights"]
    for entry in manifest.prompts:
        report = load_report(Path(entry.report_uri.removeprefix("file://")))
        assert "pickled_weights" in [warning.code for warning in report.warnings]


def test_a_manifest_of_safetensors_says_nothing_of_warnings(tmp_path: Path) -> None:
    outcome = run_canaries(RunRequest(model="tiny", suite=None, run_id="r1"), tiny_project(tmp_path))
    assert b"warnings" not in Path(outcome.manifest_uri.removeprefix("file://")).read_bytes()


def test_shards_are_read_and_a_missing_one_is_named(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "shards"))
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    shards = {"pytorch_model-00001-of-00002.bin": names[:9], "pytorch_model-00002-of-00002.bin": names[9:]}
    for shard, held in shards.items():
        torch.save({name: state[name] for name in held}, folder / shard)
    places = ", ".join(f'"{name}": "{shard}"' for shard, held in shards.items() for name in held)
    (folder / f"{PICKLED}.index.json").write_text(f'{{"metadata": {{}}, "weight_map": {{{places}}}}}')
    loaded = load_folder(folder, allow_pickled_weights=True)
    assert weights_digest(loaded.model) == weights_digest(load_folder(saved).model)
    (folder / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ModelSourceError, match="1 of 2 weight files are missing: pytorch_model-00002"):
        load_folder(folder, allow_pickled_weights=True)


def test_beside_safetensors_no_pickle_is_opened_also_where_it_is_allowed(saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "both"))
    (folder / PICKLED).write_bytes(pickle.dumps(Bomb(tmp_path / "proof")))
    assert load_folder(folder, allow_pickled_weights=True).warnings == ()
    assert not (tmp_path / "proof").exists()


def test_a_pickle_that_would_run_something_is_refused_and_nothing_runs(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save({"model.norm.weight": Bomb(proof)}, folder / PICKLED)
    with pytest.raises(ModelSourceError, match="its weights cannot be loaded") as caught:
        load_folder(folder, allow_pickled_weights=True)
    assert "\n" not in str(caught.value)
    assert not proof.exists()
    torch.load(folder / PICKLED, weights_only=False)
    assert proof.exists(), "the bomb is none, so nothing was proved"


@pytest.mark.parametrize("damage", ["cut", "plain", "empty"])
def test_a_file_that_is_no_whole_archive_is_refused_by_name(folder: Path, tmp_path: Path, damage: str) -> None:
    file = folder / PICKLED
    if damage == "cut":
        os.truncate(file, file.stat().st_size - 100)
    else:
        file.write_bytes(pickle.dumps(Bomb(tmp_path / "proof")) if damage == "plain" else b"")
    with pytest.raises(ModelSourceError, match=r"pytorch_model\.bin: is damaged or truncated"):
        load_folder(folder, allow_pickled_weights=True)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("name", ["model.pt", "weights.pkl", "consolidated.pth"])
def test_no_other_name_is_taken_for_weights(folder: Path, name: str) -> None:
    (folder / PICKLED).rename(folder / name)
    with pytest.raises(ModelSourceError, match="only pickled weights"):
        load_folder(folder, allow_pickled_weights=True)
