"""Looks at a model folder before anything is built from it, so that an error names the damaged file.

Reads headers only (a safetensors header states how long its file must be), so a folder of any size is checked in
milliseconds. It does not know what the weights mean, nor where the folder came from.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from safetensors import SafetensorError, safe_open

from model_health.errors import ModelSourceError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def check_folder(folder: Path, *, pickled: bool = False) -> list[Path]:
    """Check that `folder` holds a readable config.json and complete weights.

    Args:
        folder: of a model.
        pickled: whether pickled weights are good enough where there are no safetensors.

    Returns:
        The files of the weights: safetensors, or pickles.

    Raises:
        ModelSourceError: naming the file at fault and what is wrong with it.
    """
    check_config_file(folder)
    files = weight_files(folder, pickled=pickled)
    for file in files:
        check_weight_file(file)
    return files


def check_config_file(folder: Path) -> None:
    """Check that config.json is there, is JSON, and says what kind of model it describes.

    Raises:
        ModelSourceError: naming the file.
    """
    file = folder / "config.json"
    if not folder.is_dir():
        raise ModelSourceError("is not a directory", subject=str(folder))
    if not file.is_file():
        ggufs = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f"for a GGUF file set source.gguf, such as {ggufs[0]}" if ggufs else "check source.path"
        raise ModelSourceError("is not a model folder: it holds no config.json", subject=str(folder), hint=hint)
    if "model_type" not in _read_json_object(file):
        raise ModelSourceError("has no model_type, so its architecture is unknown", subject=str(file))


def weight_files(folder: Path, *, pickled: bool = False) -> list[Path]:
    """The files that make up the weights, each of which is there: safetensors, pickles only where there are none.

    Raises:
        ModelSourceError: there are none (pickles do not count unless `pickled`), or one is missing.
    """
    forms = [(WEIGHTS, INDEX), (PICKLED, PICKLED_INDEX)] if pickled else [(WEIGHTS, INDEX)]
    whole, index = next((form for form in forms if any((folder / name).is_file() for name in form)), forms[0])
    if (folder / whole).is_file():
        return [folder / whole]
    if not (folder / index).is_file():
        pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        if pickles:
            raise ModelSourceError(
                f"holds only pickled weights ({pickles[0]}), which can run code when they are opened",
                subject=str(folder),
                hint=f"convert them to safetensors (allow_pickled_weights reads {PICKLED} of a local folder)",
            )
        raise ModelSourceError(f"holds no weights: neither {WEIGHTS} nor {INDEX}", subject=str(folder))
    shards = index_shards(folder, index)
    missing = [name for name in shards if not (folder / name).is_file()]
    if missing:
        raise ModelSourceError(
            f"{len(missing)} of {len(shards)} weight files are missing: {shortened(missing)}",
            subject=str(folder),
            hint="copy or download the folder again",
        )
    return [folder / name for name in shards]


def index_shards(folder: Path, index: str = INDEX) -> list[str]:
    """The names of the weight files that the index lists.

    Raises:
        ModelSourceError: the index is damaged, or names a file outside its folder.
    """
    file = folder / index
    weight_map = _read_json_object(file).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelSourceError("has no weight_map", subject=str(file))
    shards = sorted({str(name) for name in weight_map.values()})
    outside = [name for name in shards if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise ModelSourceError(f"names a weight file outside its folder: {outside[0]}", subject=str(file))
    other = [name for name in shards if not name.endswith(Path(index.removesuffix(".index.json")).suffix)]
    if other:
        raise ModelSourceError(f"names a weight file of another kind: {other[0]}", subject=str(file))
    return shards


def check_weight_file(file: Path) -> None:
    """Check the header of a safetensors file against the file's length; of a pickle, that it is a whole archive.

    Raises:
        ModelSourceError: the file is truncated, empty, or of another kind.
    """
    if file.suffix == Path(PICKLED).suffix:
        if not is_zipfile(file):
            raise ModelSourceError("is damaged or truncated, or older than torch 1.6", subject=str(file))
        return
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        raise ModelSourceError(
            f"is damaged or truncated ({str(error).split(': ')[-1]}; {file.stat().st_size} bytes)",
            subject=str(file),
            hint="copy or download it again",
        ) from error
    except OSError as error:
        raise ModelSourceError(f"cannot be read: {error.strerror or error}", subject=str(file)) from error


def shortened(names: list[str], shown: int = 3) -> str:
    """The first few of a list of names, and how many more there are."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")


def _read_json_object(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelSourceError("is not valid JSON", subject=str(file), hint="copy or download it again") from error
    except OSError as error:
        raise ModelSourceError(f"cannot be read: {error.strerror or error}", subject=str(file)) from error
    if not isinstance(data, dict):
        raise ModelSourceError("is not a JSON object", subject=str(file))
    return data
