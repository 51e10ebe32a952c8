"""Where baselines lie and which of them counts: immutable, promoted by somebody for a reason, with a history."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from model_health.baseline.artefact import pack
from model_health.baseline.document import Provenance
from model_health.baseline.registry import current, find, history, load, promote
from model_health.baseline.store import BaselineStore
from model_health.errors import BadInput, StoreError
from support.replays import NOW, facts, made_up

ME = Provenance(by="me", reason="a new release")


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BaselineStore:
    return BaselineStore.open(tmp_path if request.param == "folder" else f"memory://{tmp_path.name}")


def written(store: BaselineStore, reason: str = "a test") -> str:
    packed = pack(made_up(), facts(provenance=Provenance(by="someone", reason=reason)))
    store.write("tiny", "smoke", packed)
    return packed.baseline_id


def test_nothing_counts_before_somebody_promotes(store: BaselineStore) -> None:
    assert store.baselines() == []
    baseline = written(store)
    assert store.baselines() == store.baselines("tiny", "smoke") == [("tiny", "smoke", baseline)]
    assert current(store, "tiny", "smoke") is None
    with pytest.raises(BadInput, match="no promoted baseline"):
        load(store, "tiny/smoke")


def test_a_promotion_says_who_why_and_what_it_replaced(store: BaselineStore) -> None:
    one, two = written(store), written(store, "another")
    first = promote(store, "tiny", "smoke", one, ME, NOW)
    second = promote(store, "tiny", "smoke", two, ME, NOW + timedelta(days=1))
    back = promote(store, "tiny", "smoke", one, ME, NOW + timedelta(days=2))
    assert history(store, "tiny", "smoke") == (first, second, back)
    assert [(p.number, p.baseline_id, p.replaced) for p in (first, second, back)] == [
        (1, one, None),
        (2, two, one),
        (3, one, two),
    ]
    assert current(store, "tiny", "smoke") == back
    assert load(store, "tiny/smoke").baseline_id == one
    assert current(store, "tiny", "other") is None


def test_what_counts_already_is_not_promoted_again(store: BaselineStore) -> None:
    one = written(store)
    promote(store, "tiny", "smoke", one, ME, NOW)
    with pytest.raises(BadInput, match="promoted already, by me on 2026-11-22"):
        promote(store, "tiny", "smoke", one, ME, NOW)
    assert len(history(store, "tiny", "smoke")) == 1


def test_what_is_damaged_is_neither_read_nor_promoted(tmp_path: Path) -> None:
    store = BaselineStore.open(tmp_path)
    one = written(store)
    arrays = tmp_path / "baselines/tiny/smoke" / one / "arrays.safetensors.gz"
    data = bytearray(arrays.read_bytes())
    data[len(data) // 2] ^= 1
    arrays.write_bytes(data)
    with pytest.raises(StoreError, match="changed after it was written"):
        store.read("tiny", "smoke", one)
    with pytest.raises(StoreError, match="changed after it was written"):
        promote(store, "tiny", "smoke", one, ME, NOW)
    assert history(store, "tiny", "smoke") == ()
    assert store.read_document("tiny", "smoke", one).model_name == "tiny"


def test_a_baseline_of_somebody_else_is_refused_where_it_was_moved_to(tmp_path: Path) -> None:
    store = BaselineStore.open(tmp_path)
    one = written(store)
    (tmp_path / "baselines/tiny/smoke").rename(tmp_path / "baselines/tiny/core")
    with pytest.raises(StoreError, match="is a baseline of tiny/smoke"):
        store.read("tiny", "core", one)


def test_a_folder_without_a_document_is_no_baseline(tmp_path: Path) -> None:
    store = BaselineStore.open(tmp_path)
    one = written(store)
    (tmp_path / "baselines/tiny/smoke" / one / "baseline.json").unlink()
    assert store.baselines() == []
    with pytest.raises(StoreError, match="there is no such baseline"):
        store.read("tiny", "smoke", one)


def test_writing_the_same_content_again_changes_nothing(tmp_path: Path) -> None:
    store = BaselineStore.open(tmp_path)
    one = written(store)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert written(store) == one
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files


def test_a_promotion_is_never_overwritten(store: BaselineStore) -> None:
    one = written(store)
    promote(store, "tiny", "smoke", one, ME, NOW)
    with pytest.raises(StoreError, match="recorded already"):
        store.add_promotion("tiny", "smoke", 1, one, b"{}")


@pytest.mark.parametrize("content", [b"{}", b"no JSON"])
def test_a_promotion_that_cannot_be_read_is_an_error(store: BaselineStore, content: bytes) -> None:
    store.add_promotion("tiny", "smoke", 1, written(store), content)
    with pytest.raises(StoreError, match="promotion 1 of tiny/smoke"):
        current(store, "tiny", "smoke")


def test_a_promotion_under_another_name_is_an_error(tmp_path: Path) -> None:
    store = BaselineStore.open(tmp_path)
    one = written(store)
    promote(store, "tiny", "smoke", one, ME, NOW)
    [file] = (tmp_path / "baselines/tiny/smoke/promotions").iterdir()
    file.rename(file.with_name(f"000002-{one}.json"))
    with pytest.raises(StoreError, match="not what its name says"):
        current(store, "tiny", "smoke")


def test_baselines_are_found_by_the_beginning_of_their_id(store: BaselineStore) -> None:
    one = written(store)
    promote(store, "tiny", "smoke", one, ME, NOW)
    expected = ("tiny", "smoke", one)
    for reference in ("tiny/smoke", f"tiny/smoke/{one}", f"tiny/smoke/{one[:8]}", one[:6], one):
        assert find(store, reference) == expected


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("", "is no baseline"),
        ("a/b/c/d", "is no baseline"),
        ("tiny//0123456", "is no baseline"),
        ("01234", "shorter than 6"),
        ("tiny/smoke/ffffffff", "there is no such baseline"),
        ("tiny/other/ffffffff", "there is no such baseline"),
        ("tiny/smoke", "no promoted baseline"),
        ("../smoke", "not a valid model name"),
        ("../../etcetera", "not a valid model name"),
    ],
)
def test_a_reference_that_names_nothing_says_so(store: BaselineStore, reference: str, complaint: str) -> None:
    written(store)
    with pytest.raises(BadInput, match=complaint):
        find(store, reference)


def test_an_id_that_two_baselines_begin_with_names_neither(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [("tiny", "smoke", "abcdef" + "0" * 26), ("tiny", "smoke", "abcdef" + "1" * 26)]
    monkeypatch.setattr(store, "baselines", lambda *where: both)
    with pytest.raises(BadInput, match="2 baselines begin like this"):
        find(store, "abcdef")
    assert find(store, "abcdef1") == both[1]
