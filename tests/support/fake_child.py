"""A stand-in for the capture child: obeys its command line, and misbehaves as told by `FAKE_CHILD` (a JSON object).

    FAKE_CHILD='{"do": "segfault"}' python fake_child.py run --model m --suite s --run-id r --result-file f --json

Run as a script, it needs nothing but the standard library. What it may do is listed in `main`.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

VERDICTS = {0: "healthy", 1: "unhealthy", 2: "could_not_measure", 3: "could_not_measure", 4: "inconclusive"}


def result(arguments: argparse.Namespace, exit_code: int, **other: object) -> dict[str, object]:
    measured = exit_code in (0, 1, 4)
    uri, digest = write_manifest(arguments, VERDICTS[exit_code]) if measured else (None, None)
    return {
        "run_id": arguments.run_id,
        "model": arguments.model,
        "suite": arguments.suite,
        "status": "measured" if measured else "could_not_measure",
        "verdict": VERDICTS[exit_code],
        "exit_code": exit_code,
        "reason": None if measured else "the weights are damaged",
        "manifest_uri": uri,
        "manifest_digest": digest,
        "prompts": 2,
        "prompts_unhealthy": 1 if exit_code == 1 else 0,
        "flags": {"repetition_loop_detected": 1, "attention_collapse_detected": 2} if exit_code == 1 else {},
        "unhealthy_flags": {"repetition_loop_detected": 1} if exit_code == 1 else {},
        **other,
    }


def write_manifest(arguments: argparse.Namespace, verdict: str) -> tuple[str, str]:
    """Leave a manifest in the store, if there is one, as the real child would."""
    looping = ["repetition_loop_detected"] if verdict == "unhealthy" else []
    prompt = {"group": "facts", "report_uri": "one.json.gz", "digest": "", "prompt_tokens": 3, "generated_tokens": 4}
    prompts = [
        {"prompt_id": "one", "flags": looping, "unhealthy_flags": looping, **prompt},
        {"prompt_id": "two", **prompt},
    ]
    manifest = {
        "run_id": arguments.run_id,
        "model_name": arguments.model,
        "suite": {"name": arguments.suite, "version": "1.0.0", "digest": ""},
        "status": "measured",
        "verdict": verdict,
        "reason": "too few prompts" if verdict == "inconclusive" else None,
        "started_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:00:01Z",
        "prompts": prompts,
    }
    content = json.dumps(manifest).encode()
    path = Path(arguments.out or ".") / "runs" / arguments.model / arguments.suite / "fake" / "manifest.json"
    if arguments.out:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(path), f"sha256:{hashlib.sha256(content).hexdigest()}"


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["run"])
    for name in ("model", "suite", "run-id", "result-file"):
        parser.add_argument(f"--{name}", required=True)
    for name in (
        "out",
        "airflow-dag-id",
        "airflow-run-id",
        "airflow-task-id",
        "airflow-map-index",
        "airflow-try",
        "batch-size",
        "device",
        "perf",
    ):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--sink", action="append", default=[])
    parser.add_argument("--no-prompt-telemetry", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(argv)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    orders = json.loads(os.environ.get("FAKE_CHILD", "{}"))
    arguments = parse(sys.argv[1:])
    orders = orders.get(arguments.model, orders)
    exit_code = orders.get("exit_code", 0)
    if marker := orders.get("marker"):
        Path(marker).write_text(json.dumps({"pid": os.getpid(), "argv": sys.argv[1:]}))
    for line in orders.get("say", ["prompt 1 of 2", "prompt 2 of 2"]):
        say(line)

    match orders.get("do", "finish"):
        case "hang":
            time.sleep(600)
        case "ignore_sigterm":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say("deaf")
            time.sleep(600)
        case "say_goodbye":
            signal.signal(signal.SIGTERM, lambda *_: (say("goodbye"), sys.exit(3)))
            say("listening")
            time.sleep(600)
        case "close_stderr_and_hang":
            os.close(2)
            time.sleep(600)
        case "leave_grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            say(f"grandchild {child.pid}")
        case "grandchild_and_hang":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            say(f"grandchild {child.pid}")
            time.sleep(600)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "eat_memory":
            held = []
            while True:
                held.append(b"x" * 2**24)
                time.sleep(0.01)
        case "segfault":
            ctypes.string_at(0)
        case "raise":
            raise RuntimeError("out of cheese")
        case "flood":
            for number in range(orders["lines"]):
                say(f"line {number} " + "x" * 80)
        case "one_endless_line":
            for _ in range(200):
                sys.stderr.write("y" * 100_000)
        case "no_result":
            return exit_code
        case "raw_result":
            Path(arguments.result_file).write_bytes(orders["raw"].encode())
            return exit_code
        case "huge_result":
            Path(arguments.result_file).write_text(" " * 300_000 + "{}")
            return exit_code
        case "result_is_a_folder":
            Path(arguments.result_file).mkdir()
            return exit_code
        case "finish":
            pass
        case unknown:
            raise ValueError(unknown)

    Path(arguments.result_file).write_text(json.dumps(result(arguments, exit_code, **orders.get("result", {}))))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
