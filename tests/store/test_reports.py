"""The report store on a local folder, in memory and on a real S3 protocol: what is written is read, and only that."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.errors import BadInput, ConfigError, StoreError
from model_health.report.serialise import digest
from model_health.store import files, reports
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.s3 import S3

RUN = RunFolder.of("smollm2", "default", "manual__2026-11-22T13:21:00+00:00")
OTHER = RunFolder.of("smollm2", "default", "manual__2026-11-22T14:21:00+00:00")
REPORT = json.dumps({"schema_version": "0.3.0", "text": "naïve שלום"}).encode()


@pytest.fixture(params=["local", "memory", pytest.param("s3", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ReportStore]:
    if request.param == "local":
        yield ReportStore.open(tmp_path / "store")
    elif request.param == "memory":
        yield ReportStore.open(f"memory://{tmp_path.name}")
    else:
        s3: S3 = request.getfixturevalue("s3")
        yield ReportStore.open(f"{s3.uri}/{tmp_path.name}", options=s3.options)


@pytest.fixture
def local(tmp_path: Path) -> ReportStore:
    return ReportStore.open(tmp_path / "store")


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_report_reads_back_with_its_digest(store: ReportStore) -> None:
    written = store.write_report(RUN, "fact-1", REPORT)
    assert written.digest == f"sha256:{hashlib.sha256(gzip.compress(REPORT, 6, mtime=0)).hexdigest()}"
    assert written.uri == f"{store.uri}/{RUN.path}/fact-1.json.gz"
    assert store.read_bytes(written.uri, digest=written.digest) == REPORT
    assert store.read_report(RUN, "fact-1") == REPORT
    assert store.prompt_ids(RUN) == ["fact-1"]


def test_an_empty_report_is_a_report(store: ReportStore) -> None:
    assert store.read_bytes(store.write_report(RUN, "empty", b"").uri) == b""


def test_a_run_without_a_manifest_is_unfinished(store: ReportStore) -> None:
    store.write_report(RUN, "fact-1", REPORT)
    with pytest.raises(StoreError, match="unfinished"):
        store.read_manifest(RUN)
    assert list(store.list_runs()) == []
    assert [run.finished for run in store.list_runs(finished_only=False)] == [False]
    store.write_manifest(RUN, b"{}")
    assert store.read_manifest(RUN) == b"{}"
    assert [run.folder for run in store.list_runs("smollm2", "default")] == [RUN]


def test_an_unknown_run_and_an_empty_store_say_so(store: ReportStore) -> None:
    assert list(store.list_runs(finished_only=False)) == []
    assert store.prompt_ids(RUN) == []
    with pytest.raises(StoreError, match="no such run"):
        store.read_manifest(RUN)
    with pytest.raises(StoreError, match="not found"):
        store.read_report(RUN, "fact-1")


def test_a_retry_replaces_its_own_files_and_nothing_else(store: ReportStore) -> None:
    for run in (RUN, OTHER):
        store.begin_run(run)
        store.write_report(run, "fact-1", b"old")
        store.write_report(run, "gone-in-the-retry", b"old")
        store.write_manifest(run, b"old")
    store.begin_run(RUN)
    assert [run.folder for run in store.list_runs()] == [OTHER]
    store.write_report(RUN, "fact-1", b"new")
    store.write_manifest(RUN, b"new")
    assert store.prompt_ids(RUN) == ["fact-1"]
    assert store.read_report(RUN, "fact-1") == b"new"
    assert store.prompt_ids(OTHER) == ["fact-1", "gone-in-the-retry"]
    assert store.read_manifest(OTHER) == b"old"


def test_a_report_that_is_already_compressed_is_stored_as_it_is(store: ReportStore) -> None:
    packed = gzip.compress(REPORT, 6, mtime=0)
    assert store.write_report(RUN, "fact-1", packed) == store.write_report(RUN, "fact-1", REPORT)
    assert store.read_report(RUN, "fact-1") == REPORT


def test_writing_the_same_report_twice_gives_the_same_bytes(store: ReportStore) -> None:
    assert store.write_report(RUN, "fact-1", REPORT) == store.write_report(RUN, "fact-1", REPORT)


def test_changed_content_is_noticed_on_reading(store: ReportStore) -> None:
    written = store.write_report(RUN, "fact-1", REPORT)
    store.write_report(RUN, "fact-1", REPORT + b" ")
    with pytest.raises(StoreError, match=r"changed after it was written.*expected sha256:"):
        store.read_bytes(written.uri, digest=written.digest)


def test_list_runs_filters_by_model_and_suite(store: ReportStore) -> None:
    for model, suite in (("a", "x"), ("a", "y"), ("b", "x")):
        store.write_manifest(RunFolder.of(model, suite, "r"), b"{}")
    assert [(r.folder.model, r.folder.suite) for r in store.list_runs()] == [("a", "x"), ("a", "y"), ("b", "x")]
    assert [(r.folder.model, r.folder.suite) for r in store.list_runs(suite="x")] == [("a", "x"), ("b", "x")]
    assert [(r.folder.model, r.folder.suite) for r in store.list_runs("a", "y")] == [("a", "y")]
    with pytest.raises(BadInput):
        list(store.list_runs("../.."))


@pytest.mark.parametrize(
    "name", ["runs/../../secret.json.gz", "../secret.json.gz", "/etc/passwd", "s3://other/runs/a/b/c/manifest.json", ""]
)
def test_a_reader_never_leaves_the_store(store: ReportStore, name: str) -> None:
    for uri in (name, f"{store.uri}/{name}"):
        with pytest.raises(StoreError):
            store.read_bytes(uri)


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["..", ".", "", "runs", "%2e%2e", "a", "secret.json.gz", "\x00"]), max_size=8))
def test_no_spelling_of_a_path_reaches_a_file_outside(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "confined"
    (folder / "store" / "runs").mkdir(parents=True, exist_ok=True)
    for outside in (folder, folder / "store"):
        (outside / "secret.json.gz").write_bytes(gzip.compress(b"secret"))
    store = ReportStore.open(folder / "store")
    text = "/".join(parts)
    for uri in (text, f"{store.uri}/{text}", f"{folder}/store/{text}"):
        with pytest.raises(StoreError):
            store.read_bytes(uri)


def test_a_link_that_leads_out_of_the_store_is_not_followed(local: ReportStore, tmp_path: Path) -> None:
    written = local.write_report(RUN, "fact-1", REPORT)
    (tmp_path / "secret.json.gz").write_bytes(gzip.compress(b"secret"))
    inside = local.local_path(written.uri)
    assert inside is not None
    inside.unlink()
    inside.symlink_to(tmp_path / "secret.json.gz")
    with pytest.raises(StoreError):
        local.read_bytes(written.uri)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "runs" / "linked").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="leaves the store"):
        local.write_report(RunFolder.of("linked", "s", "r"), "p", REPORT)
    assert files_under(tmp_path / "elsewhere") == []


def test_a_store_reached_through_a_link_is_the_same_store(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    store = ReportStore.open(tmp_path / "link")
    written = store.write_report(RUN, "fact-1", REPORT)
    assert store.read_bytes(str(tmp_path / "link" / RUN.report_path("fact-1"))) == REPORT
    assert written.uri.startswith((tmp_path / "real").as_uri())


def test_a_path_with_spaces_and_percent_signs_works(tmp_path: Path) -> None:
    store = ReportStore.open(tmp_path / "a b %41 ü")
    written = store.write_report(RUN, "fact-1", REPORT)
    assert " " not in written.uri
    assert store.read_bytes(written.uri) == REPORT
    path = store.local_path(written.uri)
    assert path is not None
    assert path.is_file()


def test_only_reports_and_manifests_are_read(local: ReportStore, tmp_path: Path) -> None:
    local.write_manifest(RUN, b"{}")
    (tmp_path / "store" / RUN.path / "notes.txt").write_text("x")
    with pytest.raises(StoreError, match="not a report"):
        local.read_bytes(f"{RUN.path}/notes.txt")


@pytest.mark.parametrize(
    "damage", [b"", b"not gzip", gzip.compress(b"x" * 1000)[:-9], gzip.compress(b"x")[:-8] + b"0" * 8]
)
def test_a_damaged_report_is_named(local: ReportStore, tmp_path: Path, damage: bytes) -> None:
    written = local.write_report(RUN, "fact-1", REPORT)
    (tmp_path / "store" / RUN.report_path("fact-1")).write_bytes(damage)
    with pytest.raises(StoreError, match=r"fact-1\.json\.gz.*"):
        local.read_bytes(written.uri, digest=written.digest)


def test_a_report_that_unpacks_to_far_too_much_is_refused(local: ReportStore, monkeypatch: pytest.MonkeyPatch) -> None:
    written = local.write_report(RUN, "bomb", b"\0" * 100_000)
    monkeypatch.setattr(reports, "MAX_BYTES", 10_000)
    with pytest.raises(StoreError, match="larger than 10000 bytes"):
        local.read_bytes(written.uri)


def test_a_disk_that_fills_up_midway_leaves_the_old_report_and_no_rest(
    local: ReportStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local.write_report(RUN, "fact-1", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StoreError, match="no space left") as caught:
        local.write_report(RUN, "fact-1", b"new")
    assert "fact-1.json.gz" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_under(tmp_path / "store") == [RUN.report_path("fact-1")]
    assert local.read_report(RUN, "fact-1") == b"old"


def test_a_device_that_is_really_full_is_reported(
    local: ReportStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open
    monkeypatch.setattr(
        files.os,
        "open",
        lambda path, flags, *rest: real_open("/dev/full", os.O_WRONLY) if rest else real_open(path, flags),
    )
    with pytest.raises(StoreError, match="no space left"):
        local.write_report(RUN, "fact-1", REPORT)
    assert files_under(tmp_path / "store") == []


def test_an_interrupted_write_removes_its_temporary_file(
    local: ReportStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(source: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        local.write_report(RUN, "fact-1", REPORT)
    assert files_under(tmp_path / "store") == []


def test_a_writer_killed_before_the_rename_shows_nothing_and_the_retry_cleans_up(
    local: ReportStore, tmp_path: Path
) -> None:
    script = textwrap.dedent("""
        import os, signal, sys
        from model_health.store import files
        from model_health.store.names import RunFolder
        from model_health.store.reports import ReportStore
        files.os.replace = lambda source, target: os.kill(os.getpid(), signal.SIGKILL)
        ReportStore.open(sys.argv[1]).write_manifest(RunFolder(*sys.argv[2].split("/")), b"{}")
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "store"), RUN.key], check=False)
    assert done.returncode == -signal.SIGKILL
    leftover = files_under(tmp_path / "store")
    assert len(leftover) == 1
    assert leftover[0].endswith(files.TEMP_SUFFIX)
    assert list(local.list_runs()) == []
    assert local.prompt_ids(RUN) == []
    local.begin_run(RUN)
    assert files_under(tmp_path / "store") == []


@pytest.mark.parametrize(
    ("number", "text"),
    [(errno.EACCES, "permission denied"), (errno.EROFS, "read-only"), (errno.EDQUOT, "quota"), (errno.EIO, "Errno 5")],
)
def test_a_folder_that_cannot_be_written_is_reported(
    local: ReportStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, text: str
) -> None:
    def refuse(path: Path, *rest: int) -> int:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files.os, "open", refuse)
    with pytest.raises(StoreError, match=text) as caught:
        local.write_report(RUN, "fact-1", REPORT)
    assert RUN.path in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_under(tmp_path) == []


def test_a_file_in_the_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("I am a file")
    with pytest.raises(StoreError, match="is a file, not a folder"):
        ReportStore.open(tmp_path / "store").write_report(RUN, "fact-1", REPORT)


def test_concurrent_writers_leave_one_whole_report(local: ReportStore, tmp_path: Path) -> None:
    contents = [bytes([65 + n]) * 50_000 for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: local.write_report(RUN, "fact-1", content), contents))
    assert local.read_report(RUN, "fact-1") in contents
    assert files_under(tmp_path / "store") == [RUN.report_path("fact-1")]


def test_files_get_the_usual_permissions_so_that_the_dashboard_can_read_them(local: ReportStore) -> None:
    mask = os.umask(0o022)
    try:
        path = local.local_path(local.write_report(RUN, "fact-1", REPORT).uri)
    finally:
        os.umask(mask)
    assert path is not None
    assert path.stat().st_mode & 0o777 == 0o644


def test_options_that_the_client_refuses_are_a_config_error() -> None:
    with pytest.raises(ConfigError, match="options were refused"):
        ReportStore.open("s3://bucket", options={"secret": "a", "password": "b"})


def test_a_missing_client_library_is_named() -> None:
    with pytest.raises(ConfigError, match="gcsfs"):
        ReportStore.open("gs://bucket/x")


@pytest.mark.services
def test_a_bucket_that_does_not_exist_is_a_store_error(s3: S3) -> None:
    with pytest.raises(StoreError, match="s3://no-such-bucket"):
        ReportStore.open("s3://no-such-bucket/x", options=s3.options).write_report(RUN, "fact-1", REPORT)


@pytest.mark.services
def test_an_object_is_written_by_one_put_and_leaves_nothing_else(s3: S3, tmp_path: Path) -> None:
    store = ReportStore.open(f"{s3.uri}/{tmp_path.name}", options=s3.options)
    written = store.write_report(RUN, "fact-1", REPORT)
    found = s3.client().list_objects_v2(Bucket=s3.bucket, Prefix=tmp_path.name)["Contents"]
    assert [(item["Key"], item["Size"]) for item in found] == [
        (written.uri.removeprefix(f"{s3.uri}/"), written.size),
    ]


def test_a_validation_lies_beside_its_reports_and_goes_with_the_next_try(tmp_path: Path) -> None:
    store, run = ReportStore.open(tmp_path), RunFolder.of("m", "s", "r")
    store.write_report(run, "p", b"{}")
    stored = store.write_validation(run, b'{"valid": true}')
    assert stored.uri.endswith(f"{run.path}/validation.json")
    assert store.read_stored(stored.uri) == store.read_bytes(stored.uri, digest=stored.digest) == b'{"valid": true}'
    assert store.prompt_ids(run) == ["p"]
    store.begin_run(run)
    with pytest.raises(StoreError, match="not found"):
        store.read_stored(stored.uri)


def test_stored_bytes_are_those_that_the_digest_is_of(tmp_path: Path) -> None:
    store, run = ReportStore.open(tmp_path), RunFolder.of("m", "s", "r")
    stored = store.write_report(run, "p", b"{}")
    assert stored.uri == store.report_uri(run, "p")
    assert digest(store.read_stored(stored.uri)) == stored.digest
    assert store.read_bytes(stored.uri) == b"{}"
    with pytest.raises(StoreError, match="not a report"):
        store.read_stored(f"{run.path}/other.txt")


# -------------------------------------------------------------------------------------- files that no run of ours wrote
def test_any_file_below_the_root_is_read_as_it_lies_there(local: ReportStore) -> None:
    root = Path(local.location.path)
    (root / "old").mkdir(parents=True)
    (root / "old" / "trace.json").write_bytes(b"{}")
    assert local.read_file("old/trace.json") == b"{}"
    written = local.write_report(RUN, "fact-1", REPORT)
    assert local.read_file(f"{RUN.path}/fact-1.json.gz") == local.read_stored(written.uri)


@pytest.mark.parametrize("path", ["../secret", "old/../../secret", "/secret", "", "old//trace", "./old", "old/\x00"])
def test_a_path_that_leaves_the_store_is_refused(local: ReportStore, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("outside")
    with pytest.raises(StoreError, match="not a path below the store"):
        local.read_file(path)


def test_a_link_out_of_the_store_is_not_followed(local: ReportStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "inside").symlink_to(tmp_path / "secret")
    with pytest.raises(StoreError, match="leaves the store"):
        local.read_file("inside")


@pytest.mark.parametrize("uri", ["file://[::1", "/a\ud800b", "/a\x00b", "file:///a%00b"])
def test_a_uri_that_no_file_can_have_is_no_file_of_the_store(local: ReportStore, uri: str) -> None:
    with pytest.raises(StoreError, match="not a file of this store"):
        local.read_bytes(uri)
