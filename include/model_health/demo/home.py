"""The folder of a demonstration: a project with configurations of its own, which the dashboard opens like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from model_health.config.settings import HOME_VARIABLE, Settings, load_settings
from model_health.demo.plan import MODELS
from model_health.demo.texts import PROMPTS, SUITE, SUITE_VERSION
from model_health.errors import BadInput
from model_health.report.synthetic import NOTICE

MARK: Final = "SYNTHETIC.txt"
NIGHTLY: Final[Mapping[str, Mapping[str, Any]]] = {"no-report": {"warn": 36 * 3600, "fail": 60 * 3600}}
"""The shipped gates expect hourly runs; these models run at night."""


def make_home(out: Path, shipped: Path) -> Settings:
    """Make the folder anew, with configurations but no runs; the settings of the project in it.

    Args:
        out: may hold an earlier demonstration, which is removed, or nothing.
        shipped: the folder of configurations to take the gates from.

    Raises:
        BadInput: the folder holds something else.
    """
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / MARK).is_file())):
        raise BadInput("holds something that is no demonstration", subject=str(out), hint="name another folder")
    if out.exists():
        shutil.rmtree(out)
    for folder in ("configs/models", "configs/canaries"):
        (out / folder).mkdir(parents=True)
    (out / MARK).write_text(f"{NOTICE}\n", encoding="utf-8")
    gates = yaml.safe_load((shipped / "gates.yaml").read_text(encoding="utf-8"))
    for rule, levels in NIGHTLY.items():
        gates["rules"][rule].update(levels)
    _write(out / "configs/gates.yaml", gates)
    _write(out / "configs/sinks.yaml", {"enabled": []})
    prompts = [{"id": one.id, "group": one.group, "text": one.question, "golden": one.answer} for one in PROMPTS]
    suite = {"name": SUITE, "version": SUITE_VERSION, "description": NOTICE, "prompts": prompts}
    _write(out / f"configs/canaries/{SUITE}.yaml", suite)
    for model in MODELS:
        content = {"name": model.name, "description": f"Synthetic: {model.story}", "suites": [SUITE]}
        _write(out / f"configs/models/{model.name}.yaml", {**content, "source": {"path": str(out)}})
    return load_settings({HOME_VARIABLE: str(out)})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(f"# {NOTICE}\n{json.dumps(content, indent=2)}\n", encoding="utf-8")  # JSON is YAML
