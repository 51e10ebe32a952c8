"""`python -m model_health_airflow.stack`: docker-compose.yaml on this machine without Docker, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from model_health.config.settings import find_home
from model_health.errors import ModelHealthError
from model_health_airflow.stack.local import NOT_HERE, Stack, adopt_orphans, end_orphans

SHOWN = ("api-server", "dashboard", "prometheus", "alertmanager", "pushgateway")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the stack until somebody ends it, and return 0; an error's exit code where it does not start."""
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, help="keep databases, logs and secrets here; default: a folder that goes"
    )
    parser.add_argument("--project", type=Path, help="the folder with docker-compose.yaml, configs and dags")
    arguments = parser.parse_args(argv)
    # One way to end, whatever asks for it; during the end itself nothing interrupts.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="model-health-stack-"))
    project = (arguments.project or find_home(Path.cwd())).resolve()
    stack = Stack(folder.resolve(), project)
    try:
        with _Ended(stack):
            _say(f"starting; logs in {stack.folder}/logs")
            adopt_orphans()
            stack.__enter__()
            (stack.folder / "stack.json").write_text(json.dumps({name: stack.url(name) for name in SHOWN}))
            for name in SHOWN:
                _say(f"{name:13} {stack.url(name)}")
            _say(f"user admin, password in {stack.here.secrets}/airflow_admin_password; without: {', '.join(NOT_HERE)}")
            _say("ready; Ctrl-C ends it")
            while True:
                time.sleep(1)
                for name in stack.restart_ended():
                    _say(f"{name} ended and is started again: {stack.last_words(name)}")
    except ModelHealthError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        _say("ended")
        return 0
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


class _Ended:
    """Stops the stack whatever happens, and lets nothing interrupt that."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _say("stopping")
        self._stack.stop()
        end_orphans()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
