"""JSON Schemas of the YAML files, for editors that complete and check while one types.

Owns the schema's wrapping. The content comes from the models alone.
"""

from __future__ import annotations

from typing import Any, Literal

from model_health.config.gates import GatesConfig
from model_health.config.models import ModelConfig
from model_health.config.monitors import MonitorsConfig
from model_health.config.sinks import SinksConfig
from model_health.config.suites import CanarySuite
from model_health.config.thresholds import Thresholds

FileKind = Literal["model", "suite", "thresholds", "gates", "sinks", "monitors"]


def yaml_schema(kind: FileKind) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one kind of file under `configs/`."""
    if kind == "model":
        one = ModelConfig.model_json_schema()
        definitions = one.pop("$defs")
        schema: dict[str, Any] = {"anyOf": [one, {"type": "array", "items": one}], "$defs": definitions}
    elif kind == "suite":
        schema = CanarySuite.model_json_schema()
    elif kind == "gates":
        schema = GatesConfig.model_json_schema()
        for kind_of_rule in (name for name in schema["$defs"] if name.endswith("Rule")):
            rule = schema["$defs"][kind_of_rule]  # its key is its name
            rule["required"] = [name for name in rule["required"] if name != "name"]
    elif kind == "sinks":
        schema = SinksConfig.model_json_schema()
    elif kind == "monitors":
        schema = MonitorsConfig.model_json_schema()
    else:
        one = Thresholds.model_json_schema()
        definitions = one.pop("$defs")
        named = {"type": "object", "additionalProperties": one}
        schema = {
            "type": "object",
            "properties": {"default": one, "families": named, "models": named},
            "additionalProperties": False,
            "$defs": definitions,
        }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"Model Health {kind} file", **schema}
