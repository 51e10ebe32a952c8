"""Supervision against a real child process that misbehaves in every way we know of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from model_health.errors import BadInput, ChildFailed, ConfigError
from model_health.report.manifest import AirflowIds
from model_health.runner import supervise
from model_health.runner.supervise import ChildRequest, StopSignal, run_child
from model_health.runner.supervise_log import TAIL_BYTES, LogTail
from support.children import FAKE, fake_request, is_running, wait_until

LIMIT = 300.0


def collected(request: ChildRequest, **options: object) -> tuple[list[str], object]:
    lines: list[str] = []
    return lines, run_child(request, on_line=lines.append, timeout_seconds=LIMIT, **options)  # type: ignore[arg-type]


def test_a_healthy_run_gives_its_result_and_its_lines() -> None:
    lines, outcome = collected(fake_request())
    assert lines == ["prompt 1 of 2", "prompt 2 of 2"]
    assert (outcome.verdict, outcome.model, outcome.prompts) == ("healthy", "tiny", 2)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("exit_code", "verdict"),
    [(1, "unhealthy"), (2, "could_not_measure"), (3, "could_not_measure"), (4, "inconclusive")],
)
def test_every_exit_of_the_contract_is_an_outcome(exit_code: int, verdict: str) -> None:
    outcome = run_child(fake_request(exit_code=exit_code), timeout_seconds=LIMIT)
    assert (outcome.exit_code, outcome.verdict) == (exit_code, verdict)


def test_the_command_line_carries_the_whole_request(tmp_path: Path) -> None:
    request = ChildRequest(
        "m",
        "s",
        "r",
        out="s3://b",
        airflow=AirflowIds(dag_id="d", run_id="dr", task_id="t", map_index=0, try_number=2),
        options=("--perf", "strict"),
        python="/py",
        entry=("x",),
    )
    assert request.command(tmp_path / "f") == (
        *("/py", "x", "run", "--model", "m", "--suite", "s", "--run-id", "r", "--out", "s3://b"),
        *(
            "--airflow-dag-id",
            "d",
            "--airflow-run-id",
            "dr",
            "--airflow-task-id",
            "t",
            "--airflow-map-index",
            "0",
            "--airflow-try",
            "2",
        ),
        *("--perf", "strict", "--result-file", str(tmp_path / "f"), "--json"),
    )


def test_without_an_interpreter_the_child_gets_ours(tmp_path: Path) -> None:
    command = ChildRequest("m", "s", "r").command(tmp_path)
    assert command[0] == sys.executable
    assert command[3:5] == ("-m", "model_health.cli.main")[:2]


def test_an_interpreter_that_does_not_exist_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="no/such/python: cannot be started"):
        run_child(replace(fake_request(), python="/no/such/python"), timeout_seconds=LIMIT)


@pytest.mark.parametrize(
    ("do", "message", "hint"),
    [("killed", "died of SIGKILL", "out of memory"), ("segfault", "died of SIGSEGV", "native code")],
)
def test_a_crash_names_its_signal_and_keeps_the_log(do: str, message: str, hint: str) -> None:
    with pytest.raises(ChildFailed, match=message) as caught:
        run_child(fake_request(do=do), timeout_seconds=LIMIT)
    assert hint in caught.value.hint
    assert caught.value.log_tail.startswith("prompt 1 of 2\nprompt 2 of 2")


def test_a_segfault_leaves_the_place_in_the_log() -> None:
    with pytest.raises(ChildFailed) as caught:
        run_child(fake_request(do="segfault"), timeout_seconds=LIMIT)
    assert "Segmentation fault" in caught.value.log_tail
    assert "fake_child.py" in caught.value.log_tail


def test_an_uncaught_exception_is_not_an_unhealthy_model() -> None:
    # Python ends with status 1 for both: only the result file tells them apart.
    with pytest.raises(ChildFailed, match=r"ended with status 1 and left no result.*out of cheese"):
        run_child(fake_request(do="raise"), timeout_seconds=LIMIT)


@pytest.mark.parametrize("exit_code", [0, 1, 3, 4])
def test_no_result_means_could_not_measure(exit_code: int) -> None:
    with pytest.raises(ChildFailed, match=f"ended with status {exit_code} and left no result"):
        run_child(fake_request(do="no_result", exit_code=exit_code), timeout_seconds=LIMIT)


def test_a_refused_command_line_is_bad_input_and_says_why() -> None:
    with pytest.raises(BadInput, match="unrecognized arguments: --colour"):
        run_child(replace(fake_request(), options=("--colour",)), timeout_seconds=LIMIT)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        ({"do": "raw_result", "raw": '{"run_id": '}, "its result is broken"),
        ({"do": "huge_result"}, "larger than"),
        ({"do": "result_is_a_folder"}, "cannot be read"),
        ({"result": {"run_id": "yesterday"}}, "of another run"),
        ({"result": {"verdict": "unhealthy"}}, "contradicts"),
    ],
)
def test_an_untrustworthy_result_means_could_not_measure(orders: dict[str, object], message: str) -> None:
    with pytest.raises(ChildFailed, match=message) as caught:
        run_child(fake_request(**orders), timeout_seconds=LIMIT)
    assert caught.value.log_tail


def test_a_child_that_hangs_is_ended_at_its_time_limit(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    times = iter([0.0, 1.0, 99.0, 100.0])
    with pytest.raises(ChildFailed, match=r"did not end within 100 s.*timeout_seconds"):
        # The clock only moves on once the child has started: this is not a test of this machine's speed.
        run_child(
            fake_request(do="hang", marker=str(marker)),
            timeout_seconds=100.0,
            clock=lambda: next(times, 101.0) if marker.exists() else 0.0,
        )
    assert not is_running(json.loads(marker.read_text())["pid"])


def test_a_child_that_closed_its_output_still_has_a_time_limit() -> None:
    with pytest.raises(ChildFailed, match="did not end within"):
        run_child(fake_request(do="close_stderr_and_hang"), timeout_seconds=1.0)


def test_a_child_that_ignores_sigterm_is_killed() -> None:
    stop = StopSignal()
    with pytest.raises(ChildFailed, match=r"told to stop \(test\)") as caught:
        run_child(
            fake_request(do="ignore_sigterm", say=[]),
            on_line=lambda line: stop.request("test"),
            timeout_seconds=LIMIT,
            terminate_grace_seconds=0.3,
            stop=stop,
        )
    assert caught.value.log_tail == "deaf"


def test_the_last_words_of_a_child_that_ends_on_sigterm_are_kept() -> None:
    stop = StopSignal()
    with pytest.raises(ChildFailed) as caught:
        run_child(
            fake_request(do="say_goodbye", say=[]),
            on_line=lambda line: stop.request("test"),
            timeout_seconds=LIMIT,
            terminate_grace_seconds=LIMIT,
            stop=stop,
        )
    assert caught.value.log_tail == "listening\ngoodbye"


@pytest.mark.parametrize("do", ["leave_grandchild", "grandchild_and_hang"])
def test_what_the_child_started_does_not_outlive_the_run(do: str) -> None:
    stop, pids = StopSignal(), []

    def on_line(line: str) -> None:
        pids.append(int(line.split()[1]))
        if do == "grandchild_and_hang":
            stop.request("test")

    try:
        outcome = run_child(fake_request(do=do, say=[]), on_line=on_line, timeout_seconds=LIMIT, stop=stop)
        assert outcome.verdict == "healthy"
    except ChildFailed:
        assert do == "grandchild_and_hang"
    assert pids
    assert wait_until(lambda: not is_running(pids[0]))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_exception_in_the_host_ends_the_child(tmp_path: Path, error: type[BaseException]) -> None:
    marker = tmp_path / "marker"

    def on_line(line: str) -> None:
        raise error

    tail = LogTail()
    with pytest.raises(error):
        run_child(fake_request(do="hang", marker=str(marker)), on_line=on_line, timeout_seconds=LIMIT, tail=tail)
    assert not is_running(json.loads(marker.read_text())["pid"])
    assert tail.last == "prompt 1 of 2"


def test_a_flood_is_bounded_and_its_end_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "MAX_FORWARDED_LINES", 100)
    tail = LogTail()
    lines, _ = collected(fake_request(do="flood", lines=20_000, say=[]), tail=tail)
    assert len(lines) == 101
    assert lines[-1] == "more than 100 lines: the rest is not shown"
    assert tail.last.startswith("line 19999 ")
    assert len(tail.text().encode()) <= TAIL_BYTES


def test_one_endless_line_is_cut() -> None:
    lines, _ = collected(fake_request(do="one_endless_line", say=[]))
    assert len(lines) == 1
    assert len(lines[0]) < 3000


def test_secrets_reach_neither_the_log_nor_the_tail() -> None:
    tail = LogTail()
    lines, _ = collected(fake_request(say=["using hf_abcdefghijklmnop"]), tail=tail)
    assert lines == ["using [hidden]"]
    assert tail.text() == "using [hidden]"


def test_a_stop_may_be_asked_for_from_another_thread(tmp_path: Path) -> None:
    stop, marker = StopSignal(), tmp_path / "marker"
    thread = threading.Thread(target=lambda: (wait_until(marker.exists), stop.request("thread")))
    thread.start()
    with pytest.raises(ChildFailed, match=r"told to stop \(thread\)"):
        run_child(fake_request(do="hang", marker=str(marker)), timeout_seconds=LIMIT, stop=stop)
    thread.join()


def test_the_first_reason_to_stop_stays() -> None:
    stop = StopSignal()
    stop.request("one")
    stop.request("two")
    assert (stop.requested, stop.reason) == (True, "one")


HOST = """
    import sys
    from dataclasses import replace
    from model_health.errors import ModelHealthError
    from model_health.runner.supervise import ChildRequest, run_child
    request = ChildRequest("tiny", "core", "r", entry=("-S", {fake!r}))
    try:
        run_child(request, timeout_seconds=300, on_line=lambda line: print(line, flush=True))
    except ModelHealthError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
"""


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., tuple[subprocess.Popen[str], int]]:
    """Starts a process that supervises a fake child; gives it and the child's pid, once the child runs."""
    marker = tmp_path / "marker"

    def start(**orders: object) -> tuple[subprocess.Popen[str], int]:
        environment = {**os.environ, "FAKE_CHILD": json.dumps({"marker": str(marker), "say": [], **orders})}
        code = textwrap.dedent(HOST).format(fake=str(FAKE))
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        assert wait_until(lambda: marker.exists() and marker.read_text() != "")
        return process, json.loads(marker.read_text())["pid"]

    return start


def test_sigterm_to_a_host_without_a_handler_ends_the_child_and_is_reported(host: Callable[..., object]) -> None:
    process, child = host(do="hang")  # type: ignore[misc]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=LIMIT)
    assert "told to stop (SIGTERM)" in output
    assert process.returncode == 3
    assert not is_running(child)


def test_a_host_killed_outright_leaves_no_orphan(host: Callable[..., object]) -> None:
    process, child = host(do="ignore_sigterm")  # type: ignore[misc]
    assert is_running(child)
    process.kill()
    process.wait(LIMIT)
    process.stdout.close()
    assert wait_until(lambda: not is_running(child))


def test_our_sigterm_handler_is_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run_child(fake_request(), timeout_seconds=LIMIT)
    assert signal.getsignal(signal.SIGTERM) is before
