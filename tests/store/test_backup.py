"""A backup holds everything, says so byte by byte, and is restored whole into an empty target or not at all."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from model_health.errors import BadInput, StoreError
from model_health.store.backup import CONTENTS, backup, restore
from model_health.store.index.index import Index
from model_health.store.names import RunFolder
from model_health.store.reports import ReportStore
from support.full_index import fill

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FOLDER = RunFolder.of("smollm2", "default", "manual__1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """An index with something in every table, a store, and a backup of both."""
    folder = tmp_path_factory.mktemp("made")
    url = f"sqlite:///{folder}/index.db"
    fill(url)
    store = ReportStore.open(folder / "store")
    store.write_report(FOLDER, "p0", b"{}")
    store.write_manifest(FOLDER, b'{"verdict": "healthy"}')
    promotion = folder / "store/baselines/smollm2/default/promotions/000001-x.json"
    promotion.parent.mkdir(parents=True)
    promotion.write_bytes(b"{}")
    (folder / "store/runs/.half.tmp").write_bytes(b"somebody writes")
    backup(url, str(folder / "store"), folder / "backup.tar", now=NOW)
    return url, folder / "store", folder / "backup.tar"


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def changed(source: Path, target: Path, **members: bytes) -> Path:
    """A copy of a backup with members replaced or added; dots in their names are written `__`."""
    wanted = {name.replace("__", "/").replace("_json", ".json"): content for name, content in members.items()}
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = wanted.pop(member.name, None) or _read(old, member)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        for name, content in wanted.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    return target


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def test_a_restored_installation_is_the_same_on_either_database(
    made: tuple[str, Path, Path], index_url: str, tmp_path: Path
) -> None:
    url, store, file = made
    restored = restore(file, index_url, str(tmp_path / "new"))
    there = files_of(store)
    there.pop("runs/.half.tmp")
    assert files_of(tmp_path / "new") == there
    assert (restored.files, restored.size) == (3, sum(map(len, there.values())))
    with Index.open(url) as before, Index.open(index_url) as after:
        assert after.runs() == before.runs()
        assert after.samples(FOLDER.key) == before.samples(FOLDER.key)
        assert after.points(FOLDER.key) == before.points(FOLDER.key)


def test_what_was_restored_from_postgresql_backs_up_to_the_same_rows(
    made: tuple[str, Path, Path], index_url: str, tmp_path: Path
) -> None:
    restore(made[2], index_url, str(tmp_path / "new"))
    again = backup(index_url, str(tmp_path / "new"), tmp_path / "again.tar", now=NOW)
    with tarfile.open(made[2]) as first, tarfile.open(tmp_path / "again.tar") as second:
        names = [name for name in first.getnames() if name != CONTENTS]
        assert second.getnames()[:-1] == names
        digests = [json.loads(_read(tar, tar.getmember(CONTENTS)))["digests"] for tar in (first, second)]
    stored = {name: digest for name, digest in digests[0].items() if name.startswith("store/")}
    assert stored.items() <= digests[1].items()
    assert sum(again.rows.values()) > len(again.rows)


def test_it_is_nobody_else_s_to_read(made: tuple[str, Path, Path]) -> None:
    assert made[2].stat().st_mode & 0o777 == 0o600


def test_an_object_store_goes_through_the_same_file(made: tuple[str, Path, Path], tmp_path: Path) -> None:
    place = f"memory://backup-{tmp_path.name}"
    restore(made[2], f"sqlite:///{tmp_path}/a.db", place)
    assert ReportStore.open(place).read_manifest(FOLDER) == b'{"verdict": "healthy"}'
    assert backup(f"sqlite:///{tmp_path}/a.db", place, tmp_path / "again.tar", now=NOW).files == 3


def test_a_backup_replaces_nothing_and_leaves_nothing_half(made: tuple[str, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="exists already"):
        backup(made[0], str(made[1]), made[2], now=NOW)
    with pytest.raises(BadInput, match="lies in no folder"):
        backup(made[0], str(made[1]), tmp_path / "none/backup.tar", now=NOW)
    with pytest.raises(StoreError, match="version none"):
        backup(f"sqlite:///{tmp_path}/empty.db", str(made[1]), tmp_path / "backup.tar", now=NOW)
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """An empty target, which has to be as empty after the test."""
    yield f"sqlite:///{tmp_path}/new.db", str(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "new.db").exists()


def test_a_target_that_is_not_empty_is_left_alone(made: tuple[str, Path, Path], tmp_path: Path) -> None:
    url, store, file = made
    before = files_of(store)
    with pytest.raises(StoreError, match="the store is not empty: it has runs"):
        restore(file, f"sqlite:///{tmp_path}/new.db", str(store))
    with pytest.raises(StoreError, match="the index is not empty"):
        restore(file, url, str(tmp_path / "new"))
    assert files_of(store) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\x1f\x8b\x08half"])
def test_what_is_no_backup_is_refused_before_anything_is_written(
    content: bytes, target: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "other.tar").write_bytes(content)
    with pytest.raises(BadInput, match="backup"):
        restore(tmp_path / "other.tar", *target)
    with pytest.raises(BadInput, match="No such file"):
        restore(tmp_path / "none.tar", *target)


def test_a_backup_that_was_cut_short_is_refused(
    made: tuple[str, Path, Path], target: tuple[str, str], tmp_path: Path
) -> None:
    whole = made[2].read_bytes()
    for size in (len(whole) // 3, len(whole) // 3 * 2):
        (tmp_path / "short.tar").write_bytes(whole[:size])
        with pytest.raises(BadInput, match="backup"):
            restore(tmp_path / "short.tar", *target)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        ("index__runs_jsonl", "was changed after it was made, first at index/runs.jsonl"),
        ("store__runs__extra_json", "was changed after it was made, first at store/runs/extra.json"),
        ("store__runs__..__..__..__escaped_json", "holds what no backup has"),
        ("store__elsewhere__x_json", "holds what no backup has"),
        ("/etc/passwd", "holds what no backup has"),
        ("index__a__b_jsonl", "holds what no backup has"),
    ],
)
def test_a_member_that_was_changed_or_leads_elsewhere_is_refused(
    member: str, reason: str, made: tuple[str, Path, Path], target: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=reason):
        restore(changed(made[2], tmp_path / "other.tar", **{member: b"{}\n"}), *target)


def test_a_link_in_a_backup_is_refused(made: tuple[str, Path, Path], target: tuple[str, str], tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "link.tar", "w") as tar:
        link = tarfile.TarInfo("store/runs/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BadInput, match="no backup has"):
        restore(tmp_path / "link.tar", *target)


def test_another_format_is_refused(made: tuple[str, Path, Path], target: tuple[str, str], tmp_path: Path) -> None:
    with tarfile.open(made[2]) as tar:
        about = json.loads(_read(tar, tar.getmember(CONTENTS)))
    other = changed(made[2], tmp_path / "other.tar", backup_json=json.dumps({**about, "format": "2.0.0"}).encode())
    with pytest.raises(BadInput, match=r"another format \(2.0.0\)"):
        restore(other, *target)
