"""Loading a project: each file on its own, checks between files, overrides, and a thousand models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model_health.config.load import load_project
from model_health.config.project import ProjectConfig
from model_health.errors import BadInput, ConfigError, SuiteError
from support.configs import MODEL, SUITE, make_project, make_settings, write_files

GOOD = {"models/tiny.yaml": MODEL, "canaries/smoke.yaml": SUITE}


def messages(project: ProjectConfig) -> list[str]:
    return [str(problem.error) for problem in project.problems]


def test_models_suites_and_thresholds_are_loaded_by_name(tmp_path: Path) -> None:
    thresholds = "models: {tiny: {high_entropy_bits: 7.0}}"
    project = make_project(tmp_path, {**GOOD, "thresholds.yaml": thresholds})
    assert project.problems == ()
    assert project.get_model("tiny").source.path == "weights/tiny"
    assert project.get_suite("smoke").prompts[0].text == "Hello"
    assert project.thresholds_for("tiny").high_entropy_bits == 7.0
    assert [model.name for model in project.enabled_models] == ["tiny"]


def test_a_file_may_hold_several_models(tmp_path: Path) -> None:
    many = """
    - {name: one, source: {path: w}, suites: [smoke]}
    - {name: two, source: {path: w}, suites: [smoke], enabled: false}
    """
    project = make_project(tmp_path, {"models/many.yml": many, "canaries/smoke.yaml": SUITE})
    assert set(project.models) == {"one", "two"}
    assert [model.name for model in project.enabled_models] == ["one"]
    assert project.get_model("two").name == "two"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("", "configs/models/broken.yaml: is empty"),
        (
            "name: broken\nsource: {path: w}\nsuites: [smoke]\nbatch: 1\n",
            "configs/models/broken.yaml:4: batch: unknown key",
        ),
        (
            "name: broken\nsource: {path: w, hub: a/b}\n",
            "configs/models/broken.yaml:2: source: path cannot be combined",
        ),
        (
            "name: broken\nsource: {path: w}\nsuites: [smokey]\n",
            "broken.yaml:3: suites[0]: 'smokey' is not a configured suite (did you mean 'smoke'?)",
        ),
        ("&a [*a]\n", "configs/models/broken.yaml:1: an alias refers to itself"),
        ("just text\n", "configs/models/broken.yaml:1: holds no mapping of model keys"),
        ("- 3\n", "configs/models/broken.yaml:1: holds no mapping of model keys"),
        (
            "name: [a]\nsource: {path: w}\n",
            "configs/models/broken.yaml:1: name: input should be a valid string, got a list",
        ),
        (
            "- {name: broken, source: {path: w}, suites: [smoke]}\n- {name: other, source: 3}\n",
            "configs/models/broken.yaml:2: source: input should be a valid dictionary",
        ),
        ("x" * (1024 * 1024 + 1), "configs/models/broken.yaml: is larger than"),
    ],
)
def test_a_broken_model_file_harms_only_its_own_model(tmp_path: Path, broken: str, message: str) -> None:
    project = make_project(tmp_path, {**GOOD, "models/broken.yaml": broken})
    assert project.get_model("tiny").name == "tiny"
    assert any(message in text for text in messages(project)), messages(project)
    assert len(project.problems) == 1
    with pytest.raises(BadInput) as caught:
        project.get_model(project.problems[0].name)
    assert caught.value is project.problems[0].error


def test_a_model_file_that_is_not_text_harms_only_itself(tmp_path: Path) -> None:
    write_files(tmp_path, GOOD)
    (tmp_path / "configs/models/bad.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "configs/models/folder.yaml").mkdir()
    project = load_project(make_settings(tmp_path))
    assert set(project.models) == {"tiny"}
    assert {problem.name for problem in project.problems} == {"bad", "folder"}


def test_a_broken_suite_is_reported_as_itself_and_keeps_its_models(tmp_path: Path) -> None:
    broken = SUITE.replace("text: Hello", "text: ''")
    project = make_project(tmp_path, {**GOOD, "canaries/smoke.yaml": broken})
    assert set(project.models) == {"tiny"}
    with pytest.raises(SuiteError, match=r"configs/canaries/smoke\.yaml:5: prompts\[0\]\.text: string should have"):
        project.get_suite("smoke")


def test_a_name_given_twice_is_not_guessed(tmp_path: Path) -> None:
    project = make_project(tmp_path, {**GOOD, "models/copy.yaml": MODEL, "models/third.yaml": MODEL})
    assert "tiny" not in project.models
    with pytest.raises(ConfigError, match=r"'tiny' is configured twice, also in configs/models/copy.yaml"):
        project.get_model("tiny")


def test_an_unknown_name_suggests_the_nearest_and_tells_what_is_broken(tmp_path: Path) -> None:
    project = make_project(tmp_path, {**GOOD, "models/broken.yaml": "["})
    with pytest.raises(
        ConfigError, match=r"tinny: is not a configured model .did you mean 'tiny'.; could not be loaded: broken"
    ):
        project.get_model("tinny")
    with pytest.raises(SuiteError, match=r"smok: is not a configured canary suite .did you mean 'smoke'"):
        project.get_suite("smok")


@pytest.mark.parametrize(
    ("thresholds", "message"),
    [
        ("default: {high_entropy_bit: 1.0}", "thresholds.yaml:1: default.high_entropy_bit: unknown key"),
        ("- 1", "holds no mapping of thresholds"),
        ("default: [", "is not valid YAML"),
    ],
)
def test_broken_thresholds_are_never_replaced_by_the_defaults(tmp_path: Path, thresholds: str, message: str) -> None:
    project = make_project(tmp_path, {**GOOD, "thresholds.yaml": thresholds})
    assert set(project.models) == {"tiny"}
    with pytest.raises(BadInput) as caught:
        project.thresholds_for("tiny")
    assert message in str(caught.value)


def test_thresholds_of_an_unknown_model_are_a_problem(tmp_path: Path) -> None:
    project = make_project(tmp_path, {**GOOD, "thresholds.yaml": "models:\n  tinny: {high_entropy_bits: 1.0}\n"})
    assert messages(project) == [
        "configs/thresholds.yaml:2: models.tinny is not a configured model (did you mean 'tiny'?)"
    ]


def test_without_a_thresholds_file_the_defaults_hold(tmp_path: Path) -> None:
    assert make_project(tmp_path, GOOD).thresholds_for("tiny", "llama").high_entropy_bits == 4.0


def test_the_environment_overrides_keys(tmp_path: Path) -> None:
    project = make_project(
        tmp_path,
        {**GOOD, "thresholds.yaml": "families: {llama: {high_entropy_bits: 5.0}}"},
        MODELS__TINY__BATCH_SIZE="4",
        MODELS__TINY__MEASURE__PRESET="full",
        MODELS__TINY__SOURCE__PATH="other",
        SUITES__SMOKE__DEFAULTS__MAX_NEW_TOKENS="5",
        THRESHOLDS__FAMILIES__LLAMA__HIGH_ENTROPY_BITS="6.5",
        THRESHOLDS__DEFAULT__LOOPS__MAX_PERIOD="16",
    )
    assert project.problems == ()
    model = project.get_model("tiny")
    assert (model.batch_size, model.measure.preset, model.source.path) == (4, "full", "other")
    assert project.get_suite("smoke").defaults.max_new_tokens == 5
    found = project.thresholds_for("tiny", "llama")
    assert (found.high_entropy_bits, found.loops.max_period) == (6.5, 16)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "MODELS__TINY__BATCH_SIZ",
            "4",
            "MODEL_HEALTH_MODELS__TINY__BATCH_SIZ: batch_siz: unknown key, did you mean 'batch_size'?",
        ),
        (
            "MODELS__TINY__BATCH_SIZE",
            "many",
            "MODEL_HEALTH_MODELS__TINY__BATCH_SIZE: batch_size: input should be a valid integer",
        ),
        (
            "MODELS__TINY__SUITES",
            "[nope]",
            "MODEL_HEALTH_MODELS__TINY__SUITES: suites[0]: 'nope' is not a configured suite",
        ),
        ("MODELS__TINY__NAME", "x", "MODEL_HEALTH_MODELS__TINY__NAME: a name cannot be overridden"),
        (
            "MODELS__TINI__DTYPE",
            "auto",
            "MODEL_HEALTH_MODELS__TINI__DTYPE: names no model 'tini' (did you mean 'tiny'?)",
        ),
        ("SUITES__SMOKE__VERSION", "2", "MODEL_HEALTH_SUITES__SMOKE__VERSION: version: input should be a valid string"),
        ("THRESHOLDS__DEFAULT__X", "2", "MODEL_HEALTH_THRESHOLDS__DEFAULT__X: default.x: unknown key"),
    ],
)
def test_a_wrong_override_is_a_problem_that_names_the_variable(
    tmp_path: Path, variable: str, value: str, message: str
) -> None:
    project = make_project(tmp_path, GOOD, **{variable: value})
    assert len(project.problems) == 1
    assert message in messages(project)[0]


def test_an_override_for_one_model_leaves_the_others(tmp_path: Path) -> None:
    other = MODEL.replace("tiny", "other")
    project = make_project(tmp_path, {**GOOD, "models/other.yaml": other}, MODELS__TINY__DTYPE="wrong")
    assert set(project.models) == {"other"}


def test_where_revisions_must_be_pinned_an_unpinned_enabled_model_is_a_problem(tmp_path: Path) -> None:
    models = """
    - {name: loose, source: {hub: a/b}, suites: [smoke]}
    - {name: idle, source: {hub: a/b}, suites: [smoke], enabled: false}
    - {name: local, source: {path: w}, suites: [smoke]}
    """
    files = {"models/m.yaml": models, "canaries/smoke.yaml": SUITE}
    assert set(make_project(tmp_path, files).models) == {"loose", "idle", "local"}
    strict = make_project(tmp_path, files, REQUIRE_PINNED_REVISION="true")
    assert set(strict.models) == {"idle", "local"}
    assert "source.revision is not a full commit" in messages(strict)[0]


def test_where_revisions_must_be_pinned_no_pickle_is_allowed(tmp_path: Path) -> None:
    models = "- {name: local, source: {path: w}, suites: [smoke], allow_pickled_weights: true}"
    files = {"models/m.yaml": models, "canaries/smoke.yaml": SUITE}
    assert set(make_project(tmp_path, files).models) == {"local"}
    strict = make_project(tmp_path, files, REQUIRE_PINNED_REVISION="true")
    assert not strict.models
    assert "allow_pickled_weights is true: convert the weights" in messages(strict)[0]


def test_an_empty_project_is_legal_and_a_missing_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"configs: is not a directory .set MODEL_HEALTH_HOME"):
        load_project(make_settings(tmp_path))
    project = make_project(tmp_path, {})
    assert dict(project.models) == dict(project.suites) == {}
    with pytest.raises(ConfigError, match=r"any: is not a configured model$"):
        project.get_model("any")


def test_hidden_and_foreign_files_are_left_alone(tmp_path: Path) -> None:
    project = make_project(
        tmp_path, {**GOOD, "models/.tiny.yaml.swp": "[", "models/.x.yaml": "[", "models/README": "["}
    )
    assert project.problems == ()


def test_what_is_loaded_cannot_be_changed(tmp_path: Path) -> None:
    project = make_project(tmp_path, GOOD)
    with pytest.raises(TypeError):
        project.models["new"] = project.get_model("tiny")  # type: ignore[index]


def test_a_thousand_models_in_a_thousand_files_are_loaded(tmp_path: Path) -> None:
    files = {f"models/m{n}.yaml": MODEL.replace("tiny", f"m{n}") for n in range(1000)}
    project = make_project(tmp_path, {**files, "models/m500.yaml": "[", "canaries/smoke.yaml": SUITE})
    assert len(project.models) == 999
    assert [problem.name for problem in project.problems] == ["m500"]


def test_a_thousand_models_in_one_file_are_loaded(tmp_path: Path) -> None:
    many = "".join(f"- {{name: m{n}, source: {{path: w}}, suites: [smoke]}}\n" for n in range(1000))
    assert len(make_project(tmp_path, {"models/m.yaml": many, "canaries/smoke.yaml": SUITE}).models) == 1000


def test_loading_imports_nothing_heavy(tmp_path: Path) -> None:
    write_files(tmp_path, GOOD)
    code = (
        "import sys; from model_health.config.load import load_project; p = load_project();"
        "heavy = {'torch', 'transformers', 'pandas', 'numpy', 'streamlit', 'great_expectations', 'airflow'};"
        "print(sorted(p.models), sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['tiny'] []"
