from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors.torch import load_file, save_file
from transformers.utils import logging as transformers_logging

from model_health.errors import ConfigError, CouldNotMeasure, ExitCode, ModelSourceError
from model_health.runner import loading_hub
from model_health.runner.loading import load_model
from model_health.runner.loading_errors import explained
from model_health.runner.loading_hub import commit_of
from model_health.runner.loading_quiet import quiet_transformers
from support.loading import COMMIT, hub_cache_of, load_folder, model_config, offline_settings
from support.models import byte_tokenizer, edit_config, save_tiny_model

LOST = "model.layers.2.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "llama"))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "sharded", max_shard_size="200KB")


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


def test_a_folder_loads_ready_to_generate(folder: Path) -> None:
    loaded = load_folder(folder)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert (loaded.architecture, loaded.source.kind, loaded.warnings) == ("causal", "path", ())
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.load_seconds > 0
    prompt = loaded.tokenizer("the end", return_tensors="pt")
    assert (
        loaded.model.generate(**prompt, max_new_tokens=3, do_sample=False).shape[1] == prompt["input_ids"].shape[1] + 3
    )


def test_shards_load_as_one_model(sharded: Path, folder: Path) -> None:
    one, many = load_folder(folder), load_folder(sharded)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, many.model.state_dict()[name])


def test_an_encoder_decoder_model_is_recognised_and_padded_on_the_right(tmp_path: Path) -> None:
    loaded = load_folder(save_tiny_model(tmp_path / "t5", "t5"))
    assert loaded.architecture == "encoder_decoder"
    assert loaded.tokenizer.padding_side == "right"


@pytest.mark.parametrize("family", ["gpt2", "mamba", "bloom", "bart", "marian", "mixtral"])
def test_tied_weights_do_not_count_as_missing(family: str, tmp_path: Path) -> None:
    assert load_folder(save_tiny_model(tmp_path / family, family)).warnings == ()


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_dtype_is_the_files_unless_configured(dtype: str, expected: torch.dtype, folder: Path) -> None:
    assert load_folder(folder, dtype=dtype).model.dtype == expected


def test_the_attention_backend_is_what_was_asked_for(folder: Path) -> None:
    assert load_folder(folder, attention_backend="eager").model.config._attn_implementation == "eager"
    assert load_folder(folder).model.config._attn_implementation == "sdpa"


def test_threads_are_set_and_told(folder: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert load_folder(folder, threads=2).threads == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_weights_that_are_not_numbers_load_for_the_probes_to_find(folder: Path) -> None:
    edit_weights(folder, lambda state: state[LOST].fill_(float("nan")))
    assert torch.isnan(load_folder(folder).model.state_dict()[LOST]).all()


# ------------------------------------------------------------------------------------------------ broken files


def damage_json(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text("{oops") and None


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    os.truncate(file, file.stat().st_size - 100)


def pickle_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated weights": (truncate, r"model\.safetensors: is damaged or truncated"),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), r"model\.safetensors: is damaged"),
    "no safetensors file": (
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 99),
        r"model\.safetensors: is dam",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights"),
    "pickled weights": (pickle_weights, r"only pickled weights \(pytorch_model\.bin\).*convert them"),
    "a weight dropped": (lambda f: edit_weights(f, lambda s: s.pop(LOST)), f"1 weights are not in its files.*{LOST}"),
    "more layers": (lambda f: edit_config(f, num_hidden_layers=6), "18 weights are not in its files.*15 more"),
    "another width": (
        lambda f: edit_config(f, vocab_size=330),
        r"2 weights .* shape .*lm_head.*\(320, 64\), not \(330, 64\)",
    ),
    "another family": (lambda f: edit_config(f, model_type="gpt2"), "weights are not in its files"),
    "an encoder": (lambda f: edit_config(f, model_type="bert"), r"is an encoder \(bert\)"),
    "an image model": (lambda f: edit_config(f, model_type="vit"), r"no language model .*model type vit"),
    "an unknown family": (lambda f: edit_config(f, model_type="nobody"), "its config cannot be loaded.*nobody"),
    "no family": (lambda f: edit_config(f, model_type=None), r"config\.json: has no model_type"),
    "a bad field": (
        lambda f: edit_config(f, num_hidden_layers="four"),
        "its config cannot be loaded.*num_hidden_layers",
    ),
    "impossible heads": (lambda f: edit_config(f, num_attention_heads=3), "config cannot be loaded.*multiple"),
    "no config": (lambda f: (f / "config.json").unlink(), r"is not a model folder: it holds no config\.json"),
    "a damaged config": (damage_json("config.json"), r"config\.json: is not valid JSON"),
    "a config that is a list": (lambda f: (f / "config.json").write_text("[]"), r"config\.json: is not a JSON object"),
    "a damaged tokenizer": (damage_json("tokenizer.json"), "its tokenizer is not valid JSON"),
    "no tokenizer": (lambda f: [path.unlink() for path in f.glob("*token*")], "its tokenizer cannot be loaded"),
    "nothing": (lambda f: [path.unlink() for path in f.iterdir()], "is not a model folder"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused_in_one_line_that_names_the_cause(case: str, folder: Path) -> None:
    damage, message = BROKEN[case]
    damage(folder)
    with pytest.raises(ModelSourceError, match=message) as caught:
        load_folder(folder)
    assert caught.value.exit_code == ExitCode.BAD_INPUT
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    (sharded / "model-00002-of-00004.safetensors").unlink()
    with pytest.raises(ModelSourceError, match=r"1 of 4 weight files are missing: model-00002-of-00004\.safetensors"):
        load_folder(sharded)


def test_a_truncated_shard_is_named(sharded: Path) -> None:
    shard = sharded / "model-00003-of-00004.safetensors"
    os.truncate(shard, 1000)
    with pytest.raises(ModelSourceError, match=r"model-00003-of-00004\.safetensors: is damaged"):
        load_folder(sharded)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{oops", "is not valid JSON"),
        ("{}", "has no weight_map"),
        (json.dumps({"weight_map": {"a": "../../secret.safetensors"}}), "outside its folder"),
    ],
)
def test_a_damaged_index_is_named(index: str, message: str, sharded: Path) -> None:
    (sharded / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ModelSourceError, match=rf"model\.safetensors\.index\.json: .*{message}"):
        load_folder(sharded)


def test_a_gguf_in_a_folder_is_pointed_at(tmp_path: Path) -> None:
    folder = tmp_path / "ggufs"
    folder.mkdir()
    (folder / "small.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelSourceError, match=r"set source\.gguf, such as small\.gguf"):
        load_folder(folder)


def test_weights_that_no_layer_uses_are_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_config(folder, num_hidden_layers=3)
    with caplog.at_level(logging.WARNING, logger="model_health"):
        loaded = load_folder(folder)
    assert [warning.code for warning in loaded.warnings] == ["unused_weights"]
    assert "9 weights" in loaded.warnings[0].message
    assert "model.layers.3" in caplog.text


@pytest.mark.parametrize("family", ["gpt2", "qwen2", "t5", "bart", "gpt_neox"])
def test_a_family_that_gets_an_empty_tokenizer_for_missing_files_is_refused(family: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / family, family, tokenizer=False)
    with pytest.raises(ModelSourceError, match="has no tokenizer files: the vocabulary is empty"):
        load_folder(folder)


def test_the_tokenizer_may_come_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    words = tmp_path / "words"
    byte_tokenizer(bos=False).save_pretrained(words)
    loaded = load_folder(folder, tokenizer={"path": str(words)})
    assert loaded.tokenizer_source.label == str(words)
    assert loaded.tokenizer("the").input_ids != load_folder(folder).tokenizer("the").input_ids


# ------------------------------------------------------------------------------------------- what cannot be had


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_an_architecture_that_does_not_fit_is_refused(family: str, tmp_path: Path) -> None:
    wrong = "causal" if family == "t5" else "encoder_decoder"
    folder = save_tiny_model(tmp_path / family, family)
    with pytest.raises(ModelSourceError, match=f"but architecture says {wrong}"):
        load_folder(folder, architecture=wrong)


def test_an_attention_backend_that_is_not_installed_is_a_config_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"attention_backend 'flash_attention_2' of .*FlashAttention2"):
        load_folder(folder, device="auto", attention_backend="flash_attention_2")


def test_an_attention_backend_that_the_family_lacks_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"attention_backend 'sdpa' of .*Bloom"):
        load_folder(save_tiny_model(tmp_path / "bloom", "bloom"), attention_backend="sdpa")


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_cuda")
def test_cuda_that_is_absent_is_a_config_error_before_any_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="CUDA is not available"):
        load_folder(tmp_path / "does-not-matter", device="cuda")


@pytest.mark.usefixtures("no_cuda")
def test_quantisation_without_cuda_is_a_config_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"quantization 'int8'.*CUDA"):
        load_folder(folder, device="auto", quantization="int8")


def test_a_model_that_does_not_fit_into_memory_could_not_be_measured() -> None:
    with (
        pytest.raises(CouldNotMeasure, match="huge: does not fit into memory") as caught,
        explained("huge", what="weights"),
    ):
        raise torch.OutOfMemoryError("tried to allocate 80 GiB")
    assert caught.value.exit_code == ExitCode.COULD_NOT_MEASURE


def hub_error(kind: type[HfHubHTTPError]) -> OSError:
    """What transformers and the hub client raise when the hub answers with an error: ours is only the cause."""
    error = OSError("many lines\nof advice")
    request = httpx.Request("GET", "http://hub.invalid/api")
    error.__cause__ = kind("refused", response=httpx.Response(404, request=request))
    return error


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (RepositoryNotFoundError, "is not on the hub, or is private"),
        (GatedRepoError, "is gated on the hub"),
        (RevisionNotFoundError, "has no such revision"),
        (RemoteEntryNotFoundError, "holds no weights that can be used"),
        (HfHubHTTPError, "the hub did not answer"),
    ],
)
def test_what_the_hub_answers_is_told_in_one_line(kind: type[HfHubHTTPError], message: str) -> None:
    with pytest.raises(ModelSourceError, match=f"someone/tiny: .*{message}"), explained("someone/tiny", what="weights"):
        raise hub_error(kind)


def test_a_fault_of_ours_is_not_dressed_up_as_a_bad_model() -> None:
    with pytest.raises(ZeroDivisionError), explained("m", what="weights"):
        raise ZeroDivisionError


# ------------------------------------------------------------------------------------------------------ padding


def test_a_tokenizer_without_padding_token_pads_with_the_end_token_and_keeps_its_size(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "llama", tokenizer=byte_tokenizer(pad=False))
    edit_config(folder, pad_token_id=None)
    (folder / "generation_config.json").unlink()
    loaded = load_folder(folder)
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token
    assert len(loaded.tokenizer) == len(byte_tokenizer())
    assert loaded.model.generation_config.pad_token_id == loaded.tokenizer.eos_token_id


def test_a_padding_token_beyond_the_embedding_is_replaced(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<extra{n}>" for n in range(80)])
    tokenizer.pad_token = "<extra79>"
    loaded = load_folder(save_tiny_model(tmp_path / "llama", tokenizer=tokenizer))
    assert loaded.tokenizer.pad_token == "</s>"


class Bomb:
    """What a pickle runs when it is opened."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "training_args.bin", "tokenizer.pkl"])
@pytest.mark.parametrize("beside", [True, False], ids=["beside safetensors", "alone"])
def test_no_pickle_is_ever_opened(name: str, beside: bool, folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "the bomb went off"
    (folder / name).write_bytes(pickle.dumps(Bomb(proof)))
    if beside:
        load_folder(folder)
    else:
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelSourceError, match="pickled weights"):
            load_folder(folder)
    assert not proof.exists()
    pickle.loads((folder / name).read_bytes())
    assert proof.exists()


# ---------------------------------------------------------------------------------------------------------- hub


def test_a_pinned_revision_loads_from_the_hub_cache_without_network(saved: Path, tmp_path: Path) -> None:
    hub_cache_of(saved, tmp_path / "hub", "someone/tiny")
    config = model_config({"hub": "someone/tiny", "revision": COMMIT})
    loaded = load_model(config, offline_settings(tmp_path), hub_cache=tmp_path / "hub")
    assert (loaded.source.kind, loaded.source.label, loaded.source.commit) == ("hub", "someone/tiny", COMMIT)


def test_a_pinned_revision_in_the_cache_asks_nobody_and_a_branch_does(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_local: list[bool] = []

    def recorded(*args: Any, local_files_only: bool, **options: Any) -> str:
        only_local.append(local_files_only)
        return snapshot_download(*args, local_files_only=local_files_only, **options)

    hub_cache_of(saved, tmp_path / "hub", "someone/tiny")
    monkeypatch.setattr(loading_hub, "snapshot_download", recorded)
    online = offline_settings(tmp_path).model_copy(update={"offline": False})
    config = model_config({"hub": "someone/tiny", "revision": COMMIT})
    assert load_model(config, online, hub_cache=tmp_path / "hub").source.commit == COMMIT
    assert only_local == [True]
    load_model(model_config({"hub": "someone/tiny"}), online, hub_cache=tmp_path / "hub")
    assert only_local == [True, False]  # a branch may have moved


def test_a_branch_is_resolved_to_its_commit(saved: Path, tmp_path: Path) -> None:
    hub_cache_of(saved, tmp_path / "hub", "someone/tiny")
    loaded = load_model(model_config({"hub": "someone/tiny"}), offline_settings(tmp_path), hub_cache=tmp_path / "hub")
    assert (loaded.source.revision, loaded.source.commit) == (None, COMMIT)


def test_the_pinned_revision_is_the_one_that_loads(saved: Path, sharded: Path, tmp_path: Path) -> None:
    hub_cache_of(saved, tmp_path / "hub", "someone/tiny")
    other = "f" * 40
    shutil.copytree(sharded, tmp_path / "hub" / "models--someone--tiny" / "snapshots" / other)
    edit_config(tmp_path / "hub" / "models--someone--tiny" / "snapshots" / other, rms_norm_eps=0.5)
    config = model_config({"hub": "someone/tiny", "revision": other})
    loaded = load_model(config, offline_settings(tmp_path), hub_cache=tmp_path / "hub")
    assert loaded.model.config.rms_norm_eps == 0.5
    assert loaded.source.commit == other


def test_a_folder_that_is_called_like_the_hub_id_is_not_taken_for_it(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_model(tmp_path / "someone" / "tiny", "gpt2")
    monkeypatch.chdir(tmp_path)
    hub_cache_of(saved, tmp_path / "hub", "someone/tiny")
    loaded = load_model(model_config({"hub": "someone/tiny"}), offline_settings(tmp_path), hub_cache=tmp_path / "hub")
    assert loaded.model.config.model_type == "llama"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"hub": "nobody/nothing"}, "nobody/nothing: its config is not in the local cache"),
        ({"hub": "someone/tiny", "revision": "e" * 40}, "someone/tiny: its config is not in the local cache"),
        ({"hub": "nobody/nothing", "gguf": "small.gguf"}, r"nobody/nothing: its small\.gguf is not in the local cache"),
    ],
)
def test_what_is_not_cached_is_refused_offline(
    source: dict[str, str], message: str, saved: Path, tmp_path: Path
) -> None:
    hub_cache_of(saved, tmp_path / "hub", "someone/tiny")
    with pytest.raises(ModelSourceError, match=message) as caught:
        load_model(model_config(source), offline_settings(tmp_path), hub_cache=tmp_path / "hub")
    assert caught.value.exit_code == ExitCode.BAD_INPUT


def test_a_half_downloaded_snapshot_names_the_missing_file(sharded: Path, tmp_path: Path) -> None:
    snapshot = hub_cache_of(sharded, tmp_path / "hub", "someone/tiny")
    (snapshot / "model-00004-of-00004.safetensors").unlink()
    with pytest.raises(ModelSourceError, match=r"model-00004-of-00004\.safetensors"):
        load_model(model_config({"hub": "someone/tiny"}), offline_settings(tmp_path), hub_cache=tmp_path / "hub")


def test_a_commit_is_read_from_a_cache_path_only() -> None:
    assert commit_of(Path("/cache/models--a--b/snapshots") / COMMIT / "config.json") == COMMIT
    assert commit_of(Path("/models/snapshots/latest/config.json")) is None


def test_code_that_comes_with_a_model_is_not_run_unless_trusted(folder: Path) -> None:
    edit_config(folder, model_type="own_kind", auto_map={"AutoConfig": "own.OwnConfig"})
    (folder / "own.py").write_text("raise SystemExit('this ran')\n")
    with pytest.raises(ModelSourceError, match="brings code of its own"):
        load_folder(folder)


# -------------------------------------------------------------------------------------------------------- quiet


def test_loading_prints_nothing_and_leaves_the_log_settings_alone(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled())
    edit_config(folder, num_hidden_layers=3)
    capfd.readouterr()
    load_folder(folder)
    written = capfd.readouterr()
    assert "LOAD REPORT" not in written.err
    assert "Loading weights" not in written.err
    assert written.out == ""
    assert (transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()) == before


def test_the_quiet_ends_with_its_block_also_after_an_error() -> None:
    before = transformers_logging.get_verbosity()
    with pytest.raises(RuntimeError, match="inside"), quiet_transformers():
        raise RuntimeError("inside")
    assert transformers_logging.get_verbosity() == before
    with pytest.warns(UserWarning, match="seen again"):
        warnings.warn("seen again", stacklevel=1)


def test_warnings_inside_the_quiet_do_not_get_through() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_transformers():
            warnings.warn("not to be seen", stacklevel=1)
