"""Settings of this installation: the only module that reads the environment.

Owns every MODEL_HEALTH_* variable and the home folder. It does not know what the YAML files hold: variables that
override their keys are collected here as `ConfigOverride` and applied where the files are read.

    MODEL_HEALTH_<FIELD>                       a field of Settings (HOME, STORE_URI, OFFLINE, ...)
    MODEL_HEALTH_MODELS__<name>__<key>         a key of one model, deeper keys with more double underscores:
                                               MODEL_HEALTH_MODELS__SMOLLM2_135M__MEASURE__TOPK=10
    MODEL_HEALTH_SUITES__<name>__<key>         a key of one suite (not inside its list of prompts)
    MODEL_HEALTH_THRESHOLDS__DEFAULT__<key>    also FAMILIES__<name>__<key> and MODELS__<name>__<key>
    MODEL_HEALTH_GATES__RULES__<name>__<key>   also a key of gates.yaml itself: MODEL_HEALTH_GATES__<key>
    MODEL_HEALTH_SINKS__<sink>__<key>          a key of one sink
    MODEL_HEALTH_MONITORS__<key>               a key of monitors.yaml, such as PROMETHEUS__RULES_DIR
    MODEL_HEALTH_SECRETS__<name>               a secret, such as a key or a password; YAML files only name it
    MODEL_HEALTH_SECRETS_DIR                   a folder with one file per secret, named like it; a variable wins
    MODEL_HEALTH_INDEX_URL_FILE                a file that holds INDEX_URL, password and all; INDEX_URL itself wins

Names are matched without regard to case, with `-`, `.` and `_` alike. Values are YAML (`true`, `1e-3`,
`[core, smoke]`); a secret is taken as it is. A variable that is set to nothing counts as unset.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator

from model_health.config.base import ConfigModel, did_you_mean
from model_health.config.paths import local_path
from model_health.errors import ConfigError

PREFIX = "MODEL_HEALTH_"
HOME_VARIABLE = f"{PREFIX}HOME"
SECRETS_PREFIX = f"{PREFIX}SECRETS__"
SECRETS_DIR_VARIABLE = f"{PREFIX}SECRETS_DIR"
INDEX_URL_FILE_VARIABLE = f"{PREFIX}INDEX_URL_FILE"
OVERRIDABLE = ("models", "suites", "thresholds", "gates", "sinks", "monitors")
_EXAMPLES = {"thresholds": "DEFAULT", "gates": "RULES__<name>"}
_DEPTHS = {"gates": 1, "monitors": 1}
"""Parts that name a key, where it is not the usual two."""

Seconds = Annotated[float, Field(gt=0.0, le=86_400.0)]


class ConfigOverride(ConfigModel):
    """One environment variable that overrides one key of a YAML file; `path` is lower case, `value` unparsed YAML."""

    variable: str
    section: Literal["models", "suites", "thresholds", "gates", "sinks", "monitors"]
    path: tuple[str, ...]
    value: str = Field(repr=False)


class Settings(ConfigModel):
    """Where this installation keeps things and how long it waits. Times are in seconds."""

    home: Path = Field(description="The project's folder; relative paths in configs are taken from here.")
    configs_dir: Path = Field(description="Folder of the YAML files.")
    store_uri: str = Field(description="Where reports go: a folder or an fsspec URI such as s3://bucket/prefix.")
    index_url: str = Field(repr=False, description="SQLAlchemy URL of the index (may hold a password).")
    cache_dir: Path = Field(description="Converted weights and other things that can be made again.")
    python: Path = Field(description="Interpreter of the capture child.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    offline: bool = Field(default=False, description="Never ask the hub: local files and its cache only.")
    require_pinned_revision: bool = Field(default=False, description="Refuse hub sources without a full commit.")
    load_timeout_seconds: Seconds = Field(default=900.0, description="Loading one model, download included.")
    network_timeout_seconds: Seconds = Field(default=30.0, description="One request to a store, index or sink.")
    terminate_grace_seconds: Seconds = Field(default=20.0, description="From asking a child to stop to killing it.")
    airflow_url: str | None = Field(default=None, description="Base of links to Airflow.")
    dashboard_url: str | None = Field(default=None, description="Base of links to the dashboard.")
    hide_text: bool = Field(default=False, description="The dashboard shows no text of prompts and outputs.")
    retention_days: Annotated[float, Field(gt=0.0)] | None = Field(default=None, description="Age of runs that go.")
    retention_runs: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Runs that stay, of each model and suite."
    )
    secrets_dir: Path | None = Field(
        default=None, repr=False, description="Folder of files, each of which holds the secret of its name."
    )
    overrides: tuple[ConfigOverride, ...] = ()
    secrets: dict[str, SecretStr] = Field(default_factory=dict, repr=False, description="By lower-case name.")

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("airflow_url", "dashboard_url")
    @classmethod
    def _link_base(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return value if value is None else value.rstrip("/")

    def secret(self, name: str) -> str:
        """The value of a secret. Raises `ConfigError` naming the variable that should hold it, never a value."""
        if name not in self.secrets:
            hint = "set it, or hand over an Airflow connection"
            raise ConfigError("is not set", subject=secret_variable(name), hint=hint)
        return self.secrets[name].get_secret_value()


SETTING_VARIABLES: dict[str, str] = {
    f"{PREFIX}{field.upper()}": field for field in Settings.model_fields if field not in ("overrides", "secrets")
}
"""Environment variable -> field of Settings."""


def load_settings(environ: Mapping[str, str] | None = None, *, cwd: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: the environment; this process's own if None.
        cwd: where the search for the project's folder starts; the working directory if None.

    Raises:
        ConfigError: an unknown MODEL_HEALTH_* variable, or a value that does not fit.
    """
    environ = os.environ if environ is None else environ
    ours = {name: value for name, value in environ.items() if name.upper().startswith(PREFIX) and value.strip()}
    values: dict[str, Any] = {}
    overrides: list[ConfigOverride] = []
    secrets: dict[str, SecretStr] = {}
    index_url_file: str | None = None
    for name in sorted(ours):
        if name in SETTING_VARIABLES:
            values[SETTING_VARIABLES[name]] = ours[name]
        elif name == INDEX_URL_FILE_VARIABLE:
            index_url_file = ours[name]
        elif name.startswith(SECRETS_PREFIX):
            secrets[name.removeprefix(SECRETS_PREFIX).lower()] = _secret(name, ours[name])
        else:
            overrides.append(_override(name, ours[name]))
    start = (cwd or Path.cwd()).resolve()
    home = _absolute(values.get("home"), start) or find_home(start)
    if not home.is_dir():
        raise ConfigError(f"{home} is not a directory", subject=HOME_VARIABLE)
    state = home / ".model-health"
    values["home"] = home
    values["configs_dir"] = _absolute(values.get("configs_dir"), home) or home / "configs"
    values["cache_dir"] = _absolute(values.get("cache_dir"), home) or state / "cache"
    values["python"] = _absolute(values.get("python"), home) or Path(sys.executable)
    values["secrets_dir"] = _absolute(values.get("secrets_dir"), home)
    secrets = {**_secret_files(values["secrets_dir"]), **secrets}
    values.setdefault("store_uri", str(state / "store"))
    if index_url_file is not None and "index_url" not in values:
        values["index_url"] = _url_in_file(local_path(index_url_file, home))
    values.setdefault("index_url", f"sqlite:///{state / 'index.db'}")
    try:
        return Settings(**values, overrides=tuple(overrides), secrets=secrets)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        variable = f"{PREFIX}{str(detail['loc'][0]).upper()}"
        reason = detail["msg"].removeprefix("Value error, ")
        raise ConfigError(reason[:1].lower() + reason[1:], subject=variable) from error


def find_home(start: Path) -> Path:
    """The nearest folder at or above `start` that holds `configs/`, else `start`."""
    return next((folder for folder in (start, *start.parents) if (folder / "configs").is_dir()), start)


def wait_politely(environ: MutableMapping[str, str] | None = None) -> None:
    """Let CPU threads that wait for each other sleep instead of spinning, unless the environment says otherwise.

    A spinning thread takes the core that the one it waits for needs: with another busy process on two cores, generation
    took three to ten times as long. Must run before torch is imported, which reads the variable once.
    """
    (os.environ if environ is None else environ).setdefault("OMP_WAIT_POLICY", "PASSIVE")


def child_environment(settings: Settings, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the capture child: this process's own, with the settings that libraries read at import.

    Secrets are for whoever delivers: the child, which runs a model's code, gets none.
    """
    own = os.environ if environ is None else environ
    child = {name: value for name, value in own.items() if not name.upper().startswith(SECRETS_PREFIX)}
    child.pop(SECRETS_DIR_VARIABLE, None)
    child[HOME_VARIABLE] = str(settings.home)
    child["TOKENIZERS_PARALLELISM"] = "false"
    wait_politely(child)
    if settings.offline:
        child["HF_HUB_OFFLINE"] = "1"
    return child


def secret_variable(name: str) -> str:
    """The environment variable that holds the secret of that name."""
    return SECRETS_PREFIX + name.upper()


def _secret(variable: str, value: str) -> SecretStr:
    """A secret without the line break that a file or a shell left at its end."""
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", variable.removeprefix(SECRETS_PREFIX)):
        raise ConfigError("does not name a secret", subject=variable, hint="use capitals, digits and underscores")
    value = value.strip()
    if not value.isprintable():
        raise ConfigError("holds a line break or another control character", subject=variable)
    return SecretStr(value)


def _secret_files(folder: Path | None) -> dict[str, SecretStr]:
    """The secrets that lie in a folder, by lower-case name; hidden files and folders are no secrets."""
    if folder is None:
        return {}
    try:
        files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.is_file()]
        texts = {path.name: path.read_text(encoding="utf-8") for path in files}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "a file in it is not text"
        raise ConfigError(f"cannot be read: {reason}", subject=f"{SECRETS_DIR_VARIABLE} {folder}") from None
    return {name.lower(): _secret(secret_variable(name), text) for name, text in texts.items() if text.strip()}


def _url_in_file(path: Path) -> str:
    """The URL that is all a file holds. Raises `ConfigError` without a word of what stands in it."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise ConfigError(f"cannot be read: {reason}", subject=f"{INDEX_URL_FILE_VARIABLE} {path}") from None
    if not text.isprintable() or "://" not in text:
        raise ConfigError("does not hold a URL and nothing else", subject=f"{INDEX_URL_FILE_VARIABLE} {path}")
    return text


def _absolute(value: str | None, base: Path) -> Path | None:
    return None if value is None else local_path(value, base)


def _override(name: str, value: str) -> ConfigOverride:
    section, *path = name.removeprefix(PREFIX).lower().split("__")
    if name.startswith(PREFIX) and section in OVERRIDABLE:
        if len(path) < _DEPTHS.get(section, 2) or not all(path):
            example = f"{PREFIX}{section.upper()}__{_EXAMPLES.get(section, '<name>')}__<key>"
            raise ConfigError("does not name a key", subject=name, hint=f"write {example}")
        return ConfigOverride.model_validate(
            {"variable": name, "section": section, "path": tuple(path), "value": value}
        )
    known = [*SETTING_VARIABLES, *(f"{PREFIX}{section.upper()}__<name>__<key>" for section in OVERRIDABLE)]
    known += [secret_variable("<name>"), INDEX_URL_FILE_VARIABLE]
    raise ConfigError("is not a known variable", subject=name, hint=did_you_mean(name, known))
