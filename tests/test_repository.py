"""The promises that the repository makes about itself, held over the files that git knows."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from model_health.errors import ExitCode
from support.secret_patterns import secrets_in

ROOT = Path(__file__).resolve().parents[1]
TOP_LEVEL = {"dags", "plugins", "include", "configs", "tests", "dashboard"}
SECTION = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def tracked(*patterns: str) -> list[Path]:
    """The files that git knows, and those that it would take up, below the patterns."""
    program = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    return sorted(path for name in set(names) if name and (path := ROOT / name).is_file())


def named(path: Path) -> str:
    """The path as a person writes it."""
    return path.relative_to(ROOT).as_posix()


LIBRARY = tracked("include/model_health/*.py", "plugins/model_health_airflow/*.py")
PROGRAM = LIBRARY + tracked("dags/*.py", "dashboard/*.py", "setup_env.py")


def text_files() -> list[tuple[Path, str]]:
    found = []
    for path in tracked("."):
        try:
            found.append((path, path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            continue
    return found


def test_the_scan_sees_the_repository() -> None:
    """The other tests loop over these lists: an empty one would prove nothing."""
    assert {"pyproject.toml", "Makefile", "README.md"} <= {named(path) for path in tracked(".")}
    assert len(LIBRARY) > 20


def test_the_top_level_holds_the_agreed_folders_only() -> None:
    folders = {named(path).split("/")[0] for path in tracked(".") if "/" in named(path)}
    assert {folder for folder in folders if not folder.startswith(".")} <= TOP_LEVEL


def test_no_file_holds_a_path_of_the_machine_it_was_written_on() -> None:
    places = [str(ROOT) + "/", str(Path.home()) + "/", "/" + "work/", "/" + "tmp/bash_jobs"]
    found = [
        (named(path), place) for path, text in text_files() for place in places if len(place) > 3 and place in text
    ]
    assert found == []


def test_no_file_holds_the_address_of_a_package_registry() -> None:
    hosts = ["pypi" + ".org", "pythonhosted" + ".org", "download.pytorch" + ".org", "registry." + "npmjs"]
    option = re.compile(r"--(extra-)?index-url|^\s*(extra-)?index-url\s*=", re.MULTILINE)
    found = [(named(path), host) for path, text in text_files() for host in hosts if host in text]
    found += [(named(path), "option") for path, text in text_files() if path.suffix != ".py" and option.search(text)]
    assert found == []


MADE_UP = ("hunter2", ":secret@", "s3cretpw", "PLANTED", "planted", "Correct-Horse", "AKIAIOSFODNN7EXAMPLE",
           "0123456789abcdef")  # fmt: skip
"""Secrets that tests plant, to see that they are never shown. Outside of tests there are none."""


def test_no_file_holds_a_secret() -> None:
    found = [
        (named(path), line, kind)
        for path, text in text_files()
        for line, kind, seen in secrets_in(text)
        if not (named(path).startswith("tests/") and any(word in seen for word in MADE_UP))
    ]
    assert found == []


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN " + "OPENSSH PRIVATE KEY-----",
        "aws = AKIA" + "QYLPMN5HFIQR7BBB",
        "ghp_" + "a1B2" * 9,
        "xoxb-" + "123456789012-abcdefGHIJ",
        "https://hooks.slack.com/" + "services/T0AB12CD3/B0/x",
        "hf_" + "aB3" * 11,
        "postgresql://health:" + "Tr0ub4dor@db/health",
        'datadog_api_key: "' + "9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c" + '"',
        "FERNET_KEY = '" + "pZ3k9Qw7Lm2Xv5Rt8Yb1Nc4Hd6Gf0Ja=" + "'",
    ],
)
def test_the_search_for_secrets_knows_one(secret: str) -> None:
    assert len(secrets_in(f"first line\n{secret}\n")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "password: ${POSTGRES_PASSWORD:?set it in .env}",
        "postgresql://user:{password}@host/db",
        "secret_name = 'team_webhook_url'",
        "token = tokenizer.decode(ids)",
        "https://example.org:8080/a@b",
    ],
)
def test_the_search_for_secrets_lets_placeholders_be(text: str) -> None:
    assert secrets_in(text) == []


def test_no_tracked_file_is_large() -> None:
    sizes = {named(path): path.stat().st_size for path in tracked(".")}
    assert {name: size for name, size in sizes.items() if size > 500_000} == {}


def test_modules_stay_small() -> None:
    lengths = {named(path): len(path.read_text().splitlines()) for path in PROGRAM}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    whole = [length for name, length in lengths.items() if not name.endswith("__init__.py")]
    assert statistics.median(whole) <= 120


def test_a_dag_file_is_wiring_only() -> None:
    lengths = {named(path): len(path.read_text().splitlines()) for path in tracked("dags/*.py")}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("path", PROGRAM, ids=named)
def test_a_module_first_says_what_it_owns(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring
    assert len(docstring.split()) >= 4


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.name == "__init__.py"], ids=named)
def test_a_package_s_init_is_a_docstring(path: Path) -> None:
    """Importing a package must cost nothing; `__version__` is what the build reads."""
    rest = [node for node in ast.parse(path.read_text()).body[1:] if not isinstance(node, ast.ImportFrom)]
    targets = [target.id for node in rest if isinstance(node, ast.Assign) for target in node.targets]
    assert targets == (["__version__"] if path.parent.name == "model_health" else [])
    assert len(rest) == len(targets)


def swallows(handler: ast.ExceptHandler) -> bool:
    """A handler that catches anything at all, and goes on."""
    names = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    broad = any(name is None or (isinstance(name, ast.Name) and name.id in BROAD) for name in names)
    return broad and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


BROAD = {"Exception", "BaseException"}


@pytest.mark.parametrize("path", PROGRAM, ids=named)
def test_nothing_swallows_every_exception(path: Path) -> None:
    handlers = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ExceptHandler)]
    assert [handler.lineno for handler in handlers if swallows(handler)] == []


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("except:\n pass", True),
        ("except Exception:\n pass", True),
        ("except (ValueError, BaseException) as e:\n print(e)", True),
        ("except Exception as e:\n raise RuntimeError from e", False),
        ("except ValueError:\n pass", False),
    ],
)
def test_the_check_for_swallowed_exceptions_knows_one(code: str, expected: bool) -> None:
    tree = ast.parse(f"try:\n pass\n{code}\n")
    assert swallows(next(node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))) is expected


def test_one_module_reads_the_environment() -> None:
    library = [path for path in tracked("include/model_health/*.py") if named(path) != SETTINGS]
    reads = re.compile(r"os\.environ|os\.getenv|from os import .*(environ|getenv)")
    assert [named(path) for path in library if reads.search(path.read_text())] == []


SETTINGS = "include/model_health/config/settings.py"


# ------------------------------------------------------------------------------------------------- what is installed
def locked() -> dict[str, set[str]]:
    """The versions that requirements.lock allows, by package; several where a marker decides."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9][\w.-]*)(?:\[[^]]*])?==([^ ;\\]+)", line):
            versions.setdefault(canonicalize_name(match.group(1)), set()).add(match.group(2))
    return versions


def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def declared() -> list[Requirement]:
    """Every dependency that the package declares, extras included."""
    project = pyproject()["project"]
    lines = project["dependencies"] + [line for extra in project["optional-dependencies"].values() for line in extra]
    return [Requirement(line) for line in lines]


def test_what_the_package_declares_is_what_is_tested() -> None:
    versions = locked() | {"torch": {(ROOT / "requirements-torch.txt").read_text().strip().removeprefix("torch==")}}
    wrong = [
        str(need)
        for need in declared()
        if not any(need.specifier.contains(v, prereleases=True) for v in versions.get(canonicalize_name(need.name), ()))
    ]
    assert wrong == []


def test_the_library_s_own_dependencies_are_light() -> None:
    """A dashboard host installs without torch, a GPU worker without Airflow."""
    names = {Requirement(line).name for line in pyproject()["project"]["dependencies"]}
    heavy = {"torch", "transformers", "apache-airflow", "great-expectations", "streamlit", "pandas", "altair", "duckdb"}
    assert names.isdisjoint(heavy)


def test_the_lock_hashes_everything_and_leaves_torch_to_the_machine() -> None:
    text = (ROOT / "requirements.lock").read_text()
    blocks = re.findall(r"^[A-Za-z0-9].*\n(?:[ \t]+.*\n)*", text, re.MULTILINE)
    assert len(blocks) > 100
    assert [block.split("\n")[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not {"torch", "triton"} & set(locked())
    assert [name for name in locked() if name.startswith(("nvidia-", "cuda-"))] == []
    assert "://" not in text


def test_the_environment_holds_what_the_lock_says() -> None:
    installed = {canonicalize_name(dist.name): dist.version for dist in metadata.distributions()}
    shared = locked().keys() & installed.keys()
    assert len(shared) > 100
    assert {name: installed[name] for name in shared if installed[name] not in locked()[name]} == {}


@pytest.mark.slow
def test_a_wheel_holds_every_tracked_file_of_both_packages(tmp_path: Path) -> None:
    """Catalogue, JSON Schemas and migrations travel with the code."""
    program = [Path(sys.executable).with_name("hatchling"), "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(program, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted = {named(path).split("/", 1)[1] for path in tracked("include/model_health", "plugins/model_health_airflow")}
    assert wanted - packed == set()
    assert "model_health/catalog/catalogue.yaml" in packed
    assert {name for name in packed if name.startswith(("tests/", "dashboard/", "configs/"))} == set()


# ------------------------------------------------------------------------------------------------------ documentation
def documents() -> list[Path]:
    return tracked("*.md")


@pytest.mark.parametrize("path", documents(), ids=named)
def test_a_link_between_documents_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?://|mailto:)([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", documents(), ids=named)
def test_a_make_target_in_a_document_exists(path: Path) -> None:
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)", code_of(path))) <= targets()


def code_of(path: Path) -> str:
    """The parts of a document that are set as code."""
    text = path.read_text()
    return "\n".join(re.findall(r"```.*?```", text, re.DOTALL) + re.findall(r"`[^`\n]+`", text))


def test_a_file_that_a_document_names_exists() -> None:
    pattern = re.compile(r"`((?:include|plugins|configs|dags|dashboard|tests)/[\w./-]*\w/?)`")
    named_files = [(named(path), name) for path in documents() for name in pattern.findall(path.read_text())]
    assert [(where, name) for where, name in named_files if not (ROOT / name).exists()] == []


def test_the_readme_begins_with_the_two_entries() -> None:
    head = (ROOT / "README.md").read_text().splitlines()[:12]
    assert any(line.startswith("make run") for line in head)
    assert any(line.startswith("make test") for line in head)


def missing_tests(document: str, heading: str, columns: int) -> tuple[int, list[str]]:
    """How many rows a table of promises has, and which of the tests that they name do not exist."""
    before = " .+ \\|" * (columns - 1)
    pattern = rf"^\|{before} `(tests/[^`]+)` \|$"
    named_tests = re.findall(pattern, section_of(document, heading), re.MULTILINE)
    missing = []
    for reference in named_tests:
        file, _, name = reference.partition("::")
        text = (ROOT / file).read_text() if (ROOT / file).is_file() else ""
        if not text or (name and not re.search(rf"^def {name}\(", text, re.MULTILINE)):
            missing.append(reference)
    return len(named_tests), missing


def test_every_promise_about_security_names_a_test_that_exists() -> None:
    rows, missing = missing_tests("SECURITY.md", "What holds it", columns=2)
    assert rows > 15
    assert missing == []


def test_every_outcome_of_a_hard_condition_names_a_test_that_exists() -> None:
    rows, missing = missing_tests("ARCHITECTURE.md", "When the world is at its worst", columns=3)
    assert rows == section_of("ARCHITECTURE.md", "When the world is at its worst").count("\n| ") - 1
    assert missing == []


# --------------------------------------------------------------------------------------------------------------- entry
@pytest.mark.parametrize("program", ["ruff check", "ruff format --check", "mypy", "lint-imports", "--check", "pytest"])
def test_make_test_runs_every_check(program: str) -> None:
    planned = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert program in planned


def test_ci_calls_make_test() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in script
    assert re.search(r"^make test$", script, re.MULTILINE)


WITH_ACTIONS = frozenset({"baseline", "store"})
"""Commands whose actions have options of their own."""


def named_commands() -> list[tuple[str, ...]]:
    """Every `model-health` command line that a document or a page shows, without its comment."""
    texts = [code_of(path) for path in documents()] + [path.read_text() for path in tracked("dashboard/*.py")]
    lines = [
        line.split("#")[0] for text in texts for line in re.findall(r"(?<!-n )model-health (?=[a-z])([^`\"\n]*)", text)
    ]
    return sorted({tuple(line.split()) for line in lines})


@pytest.mark.slow
def test_a_console_command_in_a_document_exists_with_its_options() -> None:
    asked: dict[tuple[str, ...], set[str]] = {}
    for words in named_commands():
        # a command may have actions with options of their own
        action = words[1:2] if len(words) > 1 and words[0] in WITH_ACTIONS and words[1].isalpha() else ()
        asked.setdefault((words[0], *action), set()).update(word for word in words if word.startswith("--"))
    assert {"run", "show", "validate", "convert", "models", "suites", "baseline"} <= {command[0] for command in asked}
    asked["run",] |= set(re.findall(r"`(--[a-z-]+)`", section_of("README.md", "Command line")))
    for command, options in asked.items():
        program = [Path(sys.executable).with_name("model-health"), *command, "--help"]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"model-health {command}: {done.stderr}"
        assert {option for option in options if not re.search(rf"{option}\b", done.stdout)} == set(), command


def section_of(name: str, heading: str) -> str:
    """The text of a document between a heading and the next."""
    return (ROOT / name).read_text().split(f"## {heading}\n")[1].split("\n## ")[0]


def test_the_exit_codes_in_the_readme_are_the_program_s() -> None:
    rows = re.findall(r"^\| (\d) \| (.*?)[;:|]", (ROOT / "README.md").read_text(), re.MULTILINE)
    words = {int(code): meaning.split(":")[0].strip().replace(" ", "_").upper() for code, meaning in rows}
    assert set(words) == {int(code) for code in ExitCode}
    assert {code: word for code, word in words.items() if code != 1} == {int(c): c.name for c in ExitCode if c != 1}
