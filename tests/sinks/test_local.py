"""The local sink: legal lines, nothing half-written, bounded in size, safe among several writers."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_health.errors import StoreError
from model_health.report.samples import Sample
from model_health.sinks import local
from model_health.sinks.base import PublishContext
from model_health.sinks.local import LocalSink

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
RUN = PublishContext("manual__2026-11-22T12:00:00+00:00", {"revision": "abc", "dtype": "float32"})


def sample(value: float | None = 1.5, **more: Any) -> Sample:
    reason = None if value is not None else "attention is not measured on this architecture"
    values = {"metric": "entropy_bits_mean", "labels": {"model": "m", "suite": "s"}, "prompt_id": "p1", **more}
    return Sample(value=value, reason=values.pop("reason", reason), timestamp=NOON, **values)


def lines(path: Path) -> list[dict[str, Any]]:
    def refuse(token: str) -> Any:
        raise AssertionError(f"{token} is not legal JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text("ascii").splitlines()]


@pytest.fixture
def sink(tmp_path: Path) -> LocalSink:
    return LocalSink(tmp_path / "metrics", clock=lambda: NOON)


def test_a_sample_is_one_line_with_its_run_and_labels(sink: LocalSink) -> None:
    result = sink.publish([sample()], RUN)
    assert (result.sink, result.target, result.published, result.not_measured) == ("local", str(sink.path), 1, 0)
    assert lines(sink.path) == [
        {
            "published_at": "2026-11-22T12:00:00+00:00",
            "at": "2026-11-22T12:00:00+00:00",
            "run_id": RUN.run_id,
            "prompt_id": "p1",
            "metric": "entropy_bits_mean",
            "value": 1.5,
            "reason": None,
            "labels": {"dtype": "float32", "model": "m", "revision": "abc", "suite": "s"},
        }
    ]


def test_what_was_not_measured_stays_null_with_its_reason(sink: LocalSink) -> None:
    result = sink.publish([sample(None), sample(0.0)], RUN)
    assert (result.published, result.not_measured) == (1, 1)
    assert [(line["value"], line["reason"]) for line in lines(sink.path)] == [
        (None, "attention is not measured on this architecture"),
        (0.0, None),
    ]


def test_nothing_to_publish_makes_no_file(sink: LocalSink) -> None:
    result = sink.publish([], RUN)
    assert (result.published, result.not_measured) == (0, 0)
    assert not sink.path.parent.exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_refused_and_nothing_is_written(sink: LocalSink, value: float) -> None:
    with pytest.raises(StoreError, match=r"entropy_bits_mean.*not a number"):
        sink.publish([sample(), sample(value)], RUN)
    assert not sink.path.exists()


@given(reason=st.text(min_size=1), value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_text_and_any_number_survive_a_line(
    tmp_path_factory: pytest.TempPathFactory, reason: str, value: float
) -> None:
    folder = tmp_path_factory.mktemp("metrics")
    sink = LocalSink(folder)
    sink.publish([sample(None, reason=reason), sample(value)], RUN)
    found = lines(sink.path)
    assert [line["reason"] for line in found] == [reason, None]
    assert found[1]["value"] == value


def test_a_file_that_is_full_is_put_aside_and_the_oldest_are_removed(tmp_path: Path) -> None:
    now = [NOON]
    sink = LocalSink(tmp_path, max_bytes=900, keep=3, clock=lambda: now[0])
    for number in range(12):
        now[0] += timedelta(minutes=1)
        sink.publish([sample(float(number)), sample(float(number))], RUN)
    aside = sorted(tmp_path.glob("metrics-*.jsonl"))
    assert len(aside) == 3
    assert all(path.stat().st_size <= 900 for path in [*aside, sink.path])
    kept = [line["value"] for path in [*aside, sink.path] for line in lines(path)]
    assert kept == sorted(kept)
    assert kept[-1] == 11.0
    assert len(set(kept)) * 2 == len(kept)


def test_a_run_larger_than_a_file_is_kept_together(tmp_path: Path) -> None:
    sink = LocalSink(tmp_path, max_bytes=500)
    sink.publish([sample(float(number)) for number in range(20)], RUN)
    assert len(lines(sink.path)) == 20
    assert list(tmp_path.glob("metrics-*")) == []


def test_an_old_file_is_put_aside_however_small_it_is(tmp_path: Path) -> None:
    now = [NOON]
    sink = LocalSink(tmp_path, max_age=timedelta(days=1), clock=lambda: now[0])
    sink.publish([sample(1.0)], RUN)
    now[0] += timedelta(days=1)
    sink.publish([sample(2.0)], RUN)
    assert list(tmp_path.glob("metrics-*")) == []
    now[0] += timedelta(seconds=1)
    sink.publish([sample(3.0)], RUN)
    (aside,) = tmp_path.glob("metrics-*")
    assert [line["value"] for line in lines(aside)] == [1.0, 2.0]
    assert [line["value"] for line in lines(sink.path)] == [3.0]


def test_two_rotations_in_one_instant_keep_both_files(tmp_path: Path) -> None:
    sink = LocalSink(tmp_path, max_bytes=1, clock=lambda: NOON)
    for number in range(4):
        sink.publish([sample(float(number))], RUN)
    assert len(list(tmp_path.glob("metrics-*"))) == 3


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics-notes.jsonl").write_text("mine")
    sink = LocalSink(tmp_path, max_bytes=1, keep=0)
    for number in range(3):
        sink.publish([sample(float(number))], RUN)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["metrics-notes.jsonl", "metrics.jsonl"]


@pytest.mark.parametrize("rest", [b'{"metric":"entr', b"x" * 200_000, b"\xff"])
def test_the_unfinished_line_of_a_killed_writer_is_removed(sink: LocalSink, rest: bytes) -> None:
    sink.publish([sample(1.0)], RUN)
    with sink.path.open("ab") as file:
        file.write(rest)
    sink.publish([sample(2.0)], RUN)
    assert [line["value"] for line in lines(sink.path)] == [1.0, 2.0]


def test_a_first_line_that_is_not_ours_is_no_reason_to_fail(sink: LocalSink) -> None:
    sink.path.parent.mkdir()
    sink.path.write_text('"somebody else"\n')
    sink.publish([sample(1.0)], RUN)
    assert sink.path.read_text().count("\n") == 2


def failing_after(good: int) -> Callable[[int, Any], int]:
    """A write that puts down a part, and then finds the disk full."""
    real, calls = os.write, iter(range(10_000))

    def write(descriptor: int, data: Any) -> int:
        if next(calls) >= good:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data)[:40])

    return write


def test_a_disk_that_fills_up_midway_leaves_the_old_lines_only(
    sink: LocalSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink.publish([sample(1.0)], RUN)
    before = sink.path.read_bytes()
    # filelock writes nothing on this platform, so every os.write is the sink's.
    monkeypatch.setattr(local.os, "write", failing_after(3))
    with pytest.raises(StoreError, match="no space left") as caught:
        sink.publish([sample(2.0), sample(3.0)], RUN)
    assert "metrics.jsonl" in str(caught.value)
    monkeypatch.undo()
    assert sink.path.read_bytes() == before


def test_a_file_in_the_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("")
    with pytest.raises(StoreError) as caught:
        LocalSink(tmp_path / "metrics").publish([sample()], RUN)
    assert "\n" not in str(caught.value)


def test_a_lock_that_is_never_released_is_one_line(sink: LocalSink, monkeypatch: pytest.MonkeyPatch) -> None:
    sink.publish([sample()], RUN)
    monkeypatch.setattr(local, "LOCK_SECONDS", 0.05)
    with local.FileLock(sink.path.parent / ".lock"), pytest.raises(StoreError, match="held the lock"):
        sink.publish([sample()], RUN)
    assert len(lines(sink.path)) == 1


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from model_health.report.samples import Sample
from model_health.sinks.base import PublishContext
from model_health.sinks.local import LocalSink

sink = LocalSink(Path(sys.argv[1]), max_bytes=20_000, keep=1000)
for number in range(40):
    samples = [Sample("m", float(n), None, datetime.now(UTC), {}) for n in range(10)]
    sink.publish(samples, PublishContext(f"{sys.argv[2]}-{number}"))
"""


def test_several_processes_lose_no_line_and_mix_none_while_files_rotate(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n)]) for n in range(3)]
    assert [writer.wait(300) for writer in writers] == [0, 0, 0]
    files = sorted(tmp_path.glob("metrics*.jsonl"))
    assert len(files) > 1
    found = [(line["run_id"], line["value"]) for path in files for line in lines(path)]
    assert len(found) == len(set(found)) == 3 * 40 * 10
    # The ten lines of one run lie together, in order.
    assert [value for _, value in found] == [float(n) for n in range(10)] * 120
