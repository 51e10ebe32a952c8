"""What a candidate is: a configured model, a folder, a GGUF file or a hub repository, run as the accepted model is.

Owns that reading. A candidate that is no configured model takes everything but its source from the baseline's model, so
that nothing differs but what is to be judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from model_health.config.models import ModelConfig
from model_health.config.paths import local_path
from model_health.config.problems import config_error
from model_health.config.project import ProjectConfig
from model_health.config.settings import Settings
from model_health.errors import BadInput, ModelSourceError

_TOKENIZERS: Final = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json", "tokenizer.model")


@dataclass(frozen=True)
class CandidateChoices:
    """What a person says of a candidate beside its name; None takes what the configuration says."""

    revision: str | None = None
    quantization: str | None = None
    dtype: str | None = None
    device: str | None = None
    batch_size: int | None = None
    attention_backend: str | None = None


def candidate_config(
    candidate: str, accepted: str, project: ProjectConfig, settings: Settings, choices: CandidateChoices
) -> ModelConfig:
    """The configuration under which a candidate is loaded.

    Args:
        candidate: a configured model, a folder with config.json, a .gguf file, or owner/name on the hub.
        accepted: the name of the baseline's model.
        project: where both are looked up.
        settings: `home` for relative paths; the present folder is tried first.
        choices: over the configuration.

    Raises:
        BadInput: nothing of that name is there, or a choice does not fit.
    """
    if candidate in project.models or (accepted == candidate):
        values = project.get_model(candidate).model_dump()
    else:
        values = _base(accepted, project).model_dump() | {"production": False}
        own = values["source"]
        values["source"] = source_of(candidate, settings)
        if values["tokenizer"] is None and not _has_tokenizer(values["source"]):
            values["tokenizer"] = own
    if choices.revision is not None:
        if values["source"].get("hub") is None:
            raise BadInput("belongs to a model of the hub only", subject="--revision")
        values["source"] = {**values["source"], "revision": choices.revision}
    for name in ("quantization", "dtype", "device", "batch_size", "attention_backend"):
        if (given := getattr(choices, name)) is not None:
            values[name] = given
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        raise config_error(error, ModelConfig, lambda path: f"candidate {candidate}") from error


def source_of(candidate: str, settings: Settings) -> dict[str, Any]:
    """The source that a path or a hub name stands for.

    Raises:
        ModelSourceError: it is none of them.
    """
    for root in (Path.cwd(), settings.home):
        path = local_path(candidate, root).resolve()
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise ModelSourceError("is not a model folder: it holds no config.json", subject=str(path))
            return {"path": str(path)}
        if path.is_file() and path.suffix == ".gguf":
            return {"gguf": str(path)}
    owner, slash, name = candidate.partition("/")
    if slash and owner not in ("", ".", "..", "~") and name and "/" not in name and not candidate.endswith(".gguf"):
        return {"hub": candidate}
    raise ModelSourceError(
        "is neither a configured model nor a model folder, a .gguf file or owner/name on the hub", subject=candidate
    )


def is_local(config: ModelConfig) -> bool:
    """Whether a configuration's files lie on this machine."""
    return config.source.hub is None


def _base(accepted: str, project: ProjectConfig) -> ModelConfig:
    if accepted not in project.models:
        hint = "configure it, or name a configured model as the candidate"
        raise BadInput("the baseline's model is not configured here", subject=accepted, hint=hint)
    return project.get_model(accepted)


def _has_tokenizer(source: dict[str, Any]) -> bool:
    """A quantised or fine-tuned copy often comes without a tokenizer: then the accepted one counts."""
    folder = source.get("path")
    return folder is None or any((Path(folder) / name).is_file() for name in _TOKENIZERS)
