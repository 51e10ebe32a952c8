"""Settings: defaults, the project's folder, unknown variables, and overrides collected for later."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from model_health.config.settings import SETTING_VARIABLES, child_environment, find_home, load_settings
from model_health.errors import ConfigError


def project(folder: Path) -> Path:
    (folder / "configs").mkdir(parents=True)
    return folder


def test_defaults_lie_below_the_project_s_folder(tmp_path: Path) -> None:
    home = project(tmp_path / "p")
    settings = load_settings({}, cwd=home)
    assert settings.home == home
    assert settings.configs_dir == home / "configs"
    assert settings.store_uri == str(home / ".model-health" / "store")
    assert settings.index_url == f"sqlite:///{home}/.model-health/index.db"
    assert settings.cache_dir == home / ".model-health" / "cache"
    assert settings.python == Path(sys.executable)
    assert not settings.offline
    assert settings.overrides == ()


def test_the_folder_is_found_from_below(tmp_path: Path) -> None:
    home = project(tmp_path / "p")
    deep = home / "a" / "b"
    deep.mkdir(parents=True)
    assert load_settings({}, cwd=deep).home == home


def test_without_a_configs_folder_home_is_where_one_stands(tmp_path: Path) -> None:
    assert find_home(tmp_path) == tmp_path


def test_the_working_directory_is_the_default_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path / "p"))
    assert load_settings({}).home == tmp_path / "p"


def test_the_environment_is_read_when_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_HEALTH_HOME", str(project(tmp_path / "p")))
    monkeypatch.setenv("MODEL_HEALTH_OFFLINE", "true")
    settings = load_settings()
    assert settings.home == tmp_path / "p"
    assert settings.offline


def test_variables_set_their_fields(tmp_path: Path) -> None:
    home = project(tmp_path / "p")
    settings = load_settings(
        {
            "MODEL_HEALTH_HOME": str(home),
            "MODEL_HEALTH_STORE_URI": "s3://bucket/reports",
            "MODEL_HEALTH_INDEX_URL": "postgresql://u:secret@db/health",
            "MODEL_HEALTH_LOG_LEVEL": "debug",
            "MODEL_HEALTH_PYTHON": "env/bin/python",
            "MODEL_HEALTH_CACHE_DIR": "/var/cache/mh",
            "MODEL_HEALTH_LOAD_TIMEOUT_SECONDS": "12.5",
            "MODEL_HEALTH_AIRFLOW_URL": "http://localhost:8080/",
            "PATH": "ignored",
        }
    )
    assert settings.store_uri == "s3://bucket/reports"
    assert settings.log_level == "DEBUG"
    assert settings.python == home / "env/bin/python"
    assert settings.cache_dir == Path("/var/cache/mh")
    assert settings.load_timeout_seconds == 12.5
    assert settings.airflow_url == "http://localhost:8080"


def test_a_password_in_the_index_url_is_not_shown(tmp_path: Path) -> None:
    settings = load_settings({"MODEL_HEALTH_INDEX_URL": "postgresql://u:secret@db/health"}, cwd=tmp_path)
    assert "secret" not in repr(settings)


def test_an_interpreter_in_a_virtual_environment_stays_a_link(tmp_path: Path) -> None:
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert load_settings({"MODEL_HEALTH_PYTHON": str(link)}, cwd=tmp_path).python == link


def test_a_variable_set_to_nothing_counts_as_unset(tmp_path: Path) -> None:
    settings = load_settings({"MODEL_HEALTH_STORE_URI": "", "MODEL_HEALTH_NONSENSE": " "}, cwd=tmp_path)
    assert settings.store_uri.endswith("store")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "MODEL_HEALTH_STORE_URL",
            "x",
            "MODEL_HEALTH_STORE_URL: is not a known variable (did you mean 'MODEL_HEALTH_STORE_URI'?)",
        ),
        ("MODEL_HEALTH_MODEL__A__B", "x", "did you mean 'MODEL_HEALTH_MODELS__<name>__<key>'?"),
        ("Model_Health_Offline", "1", "did you mean 'MODEL_HEALTH_OFFLINE'?"),
        ("MODEL_HEALTH_OVERRIDES", "x", "is not a known variable"),
        ("MODEL_HEALTH_OFFLINE", "maybe", "MODEL_HEALTH_OFFLINE: input should be a valid boolean"),
        ("MODEL_HEALTH_LOG_LEVEL", "loud", "MODEL_HEALTH_LOG_LEVEL: input should be 'DEBUG'"),
        ("MODEL_HEALTH_LOAD_TIMEOUT_SECONDS", "nan", "MODEL_HEALTH_LOAD_TIMEOUT_SECONDS: "),
        ("MODEL_HEALTH_LOAD_TIMEOUT_SECONDS", "0", "greater than 0"),
        ("MODEL_HEALTH_DASHBOARD_URL", "localhost", "must start with http:// or https://"),
        ("MODEL_HEALTH_HOME", "/nowhere/at/all", "MODEL_HEALTH_HOME: /nowhere/at/all is not a directory"),
        ("MODEL_HEALTH_MODELS__TINY", "x", "write MODEL_HEALTH_MODELS__<name>__<key>"),
        ("MODEL_HEALTH_MODELS____DTYPE", "x", "does not name a key"),
        ("MODEL_HEALTH_THRESHOLDS__DEFAULT", "x", "write MODEL_HEALTH_THRESHOLDS__DEFAULT__<key>"),
    ],
)
def test_a_wrong_variable_is_named_with_the_nearest_known_one(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({variable: value}, cwd=tmp_path)
    assert message in str(caught.value)
    assert variable in str(caught.value)


def test_overrides_are_collected_in_a_fixed_order(tmp_path: Path) -> None:
    settings = load_settings(
        {"MODEL_HEALTH_SUITES__CORE__DEFAULTS__MAX_NEW_TOKENS": "8", "MODEL_HEALTH_MODELS__A__DTYPE": "float16"},
        cwd=tmp_path,
    )
    assert [(o.section, o.path, o.value) for o in settings.overrides] == [
        ("models", ("a", "dtype"), "float16"),
        ("suites", ("core", "defaults", "max_new_tokens"), "8"),
    ]


def test_every_field_has_a_variable() -> None:
    assert SETTING_VARIABLES["MODEL_HEALTH_STORE_URI"] == "store_uri"
    assert "overrides" not in SETTING_VARIABLES.values()


def test_the_child_learns_the_home_and_stays_offline_when_asked(tmp_path: Path) -> None:
    online = child_environment(load_settings({}, cwd=tmp_path), {"PATH": "p"})
    assert online == {
        "PATH": "p",
        "MODEL_HEALTH_HOME": str(tmp_path),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    offline = child_environment(load_settings({"MODEL_HEALTH_OFFLINE": "1"}, cwd=tmp_path), {})
    assert offline["HF_HUB_OFFLINE"] == "1"


def test_the_child_gets_no_secret(tmp_path: Path) -> None:
    secret = {"MODEL_HEALTH_SECRETS__DATADOG_API_KEY": "planted-5f0c1e9a-key", "PATH": "p"}
    child = child_environment(load_settings(secret, cwd=tmp_path), secret)
    assert "planted-5f0c1e9a-key" not in str(child)
    assert child["PATH"] == "p"


def test_a_wait_policy_of_the_user_stays(tmp_path: Path) -> None:
    child = child_environment(load_settings({}, cwd=tmp_path), {"OMP_WAIT_POLICY": "ACTIVE"})
    assert child["OMP_WAIT_POLICY"] == "ACTIVE"


KEY = "planted-5f0c1e9a-key"


def test_a_secret_comes_from_its_variable_and_shows_nowhere(tmp_path: Path) -> None:
    settings = load_settings({"MODEL_HEALTH_SECRETS__DATADOG_API_KEY": f"{KEY}\n"}, cwd=tmp_path)
    assert settings.secret("datadog_api_key") == KEY
    assert settings.overrides == ()
    for shown in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert KEY not in shown


def test_a_secret_that_is_not_set_is_an_error_that_names_the_variable(tmp_path: Path) -> None:
    environ = {"MODEL_HEALTH_SECRETS__DATADOG_API_KEY": "  ", "MODEL_HEALTH_SECRETS__OTHER": KEY}
    with pytest.raises(ConfigError, match=r"MODEL_HEALTH_SECRETS__DATADOG_API_KEY: is not set") as caught:
        load_settings(environ, cwd=tmp_path).secret("datadog_api_key")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MODEL_HEALTH_SECRETS__", KEY),
        ("MODEL_HEALTH_SECRETS__a", KEY),
        ("MODEL_HEALTH_SECRETS__A-B", KEY),
        ("MODEL_HEALTH_SECRETS", KEY),
        ("MODEL_HEALTH_SECRET__A", KEY),
        ("model_health_secrets__A", KEY),
        ("MODEL_HEALTH_SECRETS__A", f"{KEY}\r\nX-Injected: yes"),
    ],
)
def test_a_secret_that_cannot_be_used_is_refused_without_showing_it(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({variable: value}, cwd=tmp_path)
    assert variable in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_key_of_a_sink_can_be_overridden(tmp_path: Path) -> None:
    settings = load_settings({"MODEL_HEALTH_SINKS__PROMETHEUS__URL": "http://gateway:9091"}, cwd=tmp_path)
    (override,) = settings.overrides
    assert (override.section, override.path) == ("sinks", ("prometheus", "url"))


def test_secrets_may_lie_in_files_and_a_variable_wins(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "team_url").write_text("https://hooks.example.org/one\n")
    (folder / "datadog_api_key").write_text("from-the-file")
    (folder / "empty").write_text("\n")
    (folder / ".hidden").write_text("\x00")
    variables = {"MODEL_HEALTH_HOME": str(tmp_path), "MODEL_HEALTH_SECRETS_DIR": "secrets"}
    settings = load_settings({**variables, "MODEL_HEALTH_SECRETS__DATADOG_API_KEY": "from-the-variable"})
    assert settings.secret("team_url") == "https://hooks.example.org/one"
    assert settings.secret("datadog_api_key") == "from-the-variable"
    assert set(settings.secrets) == {"team_url", "datadog_api_key"}
    assert "from-the" not in repr(settings)
    assert "MODEL_HEALTH_SECRETS_DIR" not in child_environment(settings, variables)


def test_a_folder_of_secrets_that_is_missing_or_holds_something_else_is_named(tmp_path: Path) -> None:
    variables = {"MODEL_HEALTH_HOME": str(tmp_path), "MODEL_HEALTH_SECRETS_DIR": str(tmp_path / "none")}
    with pytest.raises(ConfigError, match=r"MODEL_HEALTH_SECRETS_DIR .*none: cannot be read"):
        load_settings(variables)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "team-url.txt").write_text("x")
    with pytest.raises(ConfigError, match="does not name a secret"):
        load_settings(variables)


def test_the_url_of_the_index_may_lie_in_a_file_and_the_variable_wins(tmp_path: Path) -> None:
    (tmp_path / "index_url").write_text("postgresql://health:secret@db/health\n")
    environ = {"MODEL_HEALTH_HOME": str(tmp_path), "MODEL_HEALTH_INDEX_URL_FILE": str(tmp_path / "index_url")}
    assert load_settings(environ).index_url == "postgresql://health:secret@db/health"
    assert load_settings({**environ, "MODEL_HEALTH_INDEX_URL": "sqlite:///other.db"}).index_url == "sqlite:///other.db"
    assert "secret" not in repr(load_settings(environ))


@pytest.mark.parametrize("content", [None, b"", b"a secret word", b"sqlite:///a\nsqlite:///b", b"\xff\xfe"])
def test_a_file_that_holds_no_url_is_refused_without_a_word_of_it(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "index_url").write_bytes(content)
    environ = {"MODEL_HEALTH_HOME": str(tmp_path), "MODEL_HEALTH_INDEX_URL_FILE": "index_url"}
    with pytest.raises(ConfigError, match="MODEL_HEALTH_INDEX_URL_FILE") as caught:
        load_settings(environ)
    assert "secret word" not in str(caught.value)


@pytest.mark.parametrize("variable", ["HOME", "CONFIGS_DIR", "CACHE_DIR", "PYTHON", "SECRETS_DIR", "INDEX_URL_FILE"])
@pytest.mark.parametrize("value", ["~nobody-has-this-name/x", "x" * 300])
def test_a_variable_that_can_be_no_path_is_refused(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match="is no path here"):
        load_settings({f"MODEL_HEALTH_{variable}": value}, cwd=project(tmp_path / "p"))
