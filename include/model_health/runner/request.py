"""What a canary run is asked to do, and the small result that it hands back. Loads no torch."""

from __future__ import annotations

import json
import os
import secrets
import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from model_health.config.models import ModelConfig
from model_health.config.problems import config_error
from model_health.config.settings import Settings
from model_health.config.sinks import load_sinks
from model_health.errors import ExitCode, StoreError
from model_health.report.manifest import AirflowIds, Manifest
from model_health.report.performance import Level
from model_health.sinks.registry import check_sinks
from model_health.store.names import RunFolder


@dataclass(frozen=True)
class RunRequest:
    """One model over one suite. None takes what the configuration says; an empty `run_id` gets a new one.

    `compare` holds the run against the promoted baseline of its model and suite as well.
    """

    model: str
    suite: str | None = None
    run_id: str = ""
    store_uri: str | None = None
    sinks: tuple[str, ...] = ()
    batch_size: int | None = None
    device: str | None = None
    perf: Level = "summary"
    prompt_telemetry: bool = True
    compare: bool = False
    airflow: AirflowIds | None = None

    def named(self, now: datetime) -> RunRequest:
        """The same request with a run id: given, or made of the time and four random bytes."""
        if self.run_id:
            return self
        return replace(self, run_id=f"manual-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}")

    def applied_to(self, config: ModelConfig) -> ModelConfig:
        """The model's configuration with this request's choices over it, checked again as a whole.

        Raises:
            ConfigError: a choice does not fit the model.
        """
        values = config.model_dump()
        if self.batch_size is not None:
            values["batch_size"] = self.batch_size
        if self.device is not None:
            values["device"] = self.device
        if not self.prompt_telemetry:
            values["measure"] = {**values["measure"], "prompt_telemetry": False}
        try:
            return ModelConfig.model_validate(values)
        except ValidationError as error:
            raise config_error(error, ModelConfig, lambda path: f"request for {config.name}") from error


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: its manifest (also of a run that could not measure), and where it lies.

    `comparison` is what a comparison with the promoted baseline came to, None where none was asked for.
    """

    manifest: Manifest
    manifest_uri: str | None
    manifest_digest: str | None
    comparison: dict[str, Any] | None = None

    @property
    def exit_code(self) -> ExitCode:
        """What the process ends with."""
        return self.manifest.exit_code

    @property
    def run_key(self) -> str:
        """Names the run in the index."""
        return RunFolder.of(self.manifest.model_name, self.manifest.suite.name, self.manifest.run_id).key

    def summary(self, exit_code: ExitCode | None = None) -> dict[str, Any]:
        """The result as small JSON: counts, verdict and addresses, never text of prompts. Below 4 KB."""
        manifest = self.manifest
        return {
            "run_id": manifest.run_id,
            "model": manifest.model_name,
            "suite": manifest.suite.name,
            "status": manifest.status,
            "verdict": manifest.verdict,
            "exit_code": int(self.exit_code if exit_code is None else exit_code),
            "reason": manifest.reason,
            "manifest_uri": self.manifest_uri,
            "manifest_digest": self.manifest_digest,
            "prompts": len(manifest.prompts),
            "prompts_unhealthy": sum(bool(prompt.unhealthy_flags) for prompt in manifest.prompts),
            "flags": manifest.flags,
            "unhealthy_flags": manifest.unhealthy_flags,
            "comparison": self.comparison,
        }


def sinks_of(request: RunRequest, settings: Settings) -> tuple[str, ...]:
    """The sinks that a run publishes to: those that were asked for, else those that the configuration enables.

    Raises:
        ConfigError: a name is unknown, or `sinks.yaml` is wrong.
    """
    return check_sinks(request.sinks or load_sinks(settings).enabled)


def write_result(path: Path, summary: dict[str, Any]) -> None:
    """Write a result file atomically: whoever waits for it sees all of it or nothing.

    Raises:
        StoreError: the file cannot be written.
    """
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(summary, file, allow_nan=False)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink()
            raise
    except OSError as error:
        raise StoreError(f"the result cannot be written: {error.strerror}", subject=str(path)) from error
