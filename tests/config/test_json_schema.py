"""The JSON Schemas accept what we ship and refuse what the models refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from model_health.config.json_schema import FileKind, yaml_schema
from model_health.config.yaml_files import read_yaml

SHIPPED: list[tuple[FileKind, str]] = [
    ("model", "models/*.yaml"),
    ("suite", "canaries/*.yaml"),
    ("thresholds", "thresholds.yaml"),
    ("gates", "gates.yaml"),
    ("sinks", "sinks.yaml"),
    ("monitors", "monitors.yaml"),
]


def validator(kind: FileKind) -> jsonschema.Draft202012Validator:
    schema = yaml_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize(("kind", "pattern"), SHIPPED)
def test_the_files_we_ship_fit_their_schema(repository: Path, kind: FileKind, pattern: str) -> None:
    paths = sorted((repository / "configs").glob(pattern))
    assert paths
    for path in paths:
        validator(kind).validate(read_yaml(path).data)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("model", {"name": "m"}),
        ("model", {"name": "m", "source": {"path": "w"}, "batchsize": 1}),
        ("model", [{"name": "m", "source": {"path": "w"}, "dtype": "float64"}]),
        ("suite", {"name": "s", "version": "1.0.0", "prompts": []}),
        ("suite", {"name": "s", "version": "1.0.0", "prompts": [{"id": "p", "group": "g", "text": ""}]}),
        ("thresholds", {"defaults": {}}),
        ("gates", {"rules": {"g": {"flags": ["no_such_flag"], "fail": 0}}}),
        ("gates", {"rulez": {}}),
        ("sinks", {"local": {"enabled": True, "keeep": 1}}),
        ("monitors", {"grafana": {}}),
        ("thresholds", {"families": {"llama": {"repetition_cosine": 2.0}}}),
    ],
)
def test_what_the_models_refuse_does_not_fit(kind: FileKind, content: Any) -> None:
    assert not validator(kind).is_valid(content)
