"""Rule files: whose they are, replaced whole or not at all, and put back where the server refuses them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_health.errors import ConfigError, DeliveryFailed, StoreError
from model_health.monitors import files
from model_health.monitors.files import Place, apply_files, plan_files, reload, write_file
from model_health.monitors.plan import Journal, Outcome
from support.webhook import Answer, webhook_server

MARKER = "managed by model-health, installation default"
OURS = f"# {MARKER}\n"


def make(place: Place) -> Outcome:
    plan, journal = plan_files(place, MARKER), Journal()
    apply_files(place, plan, journal)
    return journal.outcome(plan)


def folder_of(tmp_path: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (tmp_path / f"{name}.yml").write_text(text)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def test_files_are_created_updated_and_deleted_and_those_of_others_are_left(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path,
        old=f"{OURS}gone",
        now=f"{OURS}before",
        theirs="groups: []",
        staging=OURS.replace("default", "staging"),
    )
    place = Place("prometheus", {folder / "now.yml": f"{OURS}after", folder / "new.yml": f"{OURS}x"}, folder)
    plan = plan_files(place, MARKER)
    assert plan.summary() == "1 to create, 1 to update, 1 to delete, 0 unchanged"
    assert "-before\n+after\n" in plan.diff()
    outcome = make(place)
    assert outcome.exit_code == 0
    assert outcome.text.splitlines()[-1] == "1 created, 1 updated, 1 deleted, 0 unchanged"
    assert contents(folder) == {
        "new.yml": f"{OURS}x",
        "now.yml": f"{OURS}after",
        "staging.yml": OURS.replace("default", "staging"),
        "theirs.yml": "groups: []",
    }
    assert make(place).text == "nothing changed, 2 unchanged\n"


@pytest.mark.parametrize("text", ["groups: []\n", "", "\ufeff# x", f"x\n{OURS}", OURS.replace("default", "other")])
def test_a_file_that_somebody_else_wrote_is_left_alone_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(text)
    outcome = make(Place("prometheus", {path: f"{OURS}x"}, tmp_path))
    assert outcome.exit_code == 2
    assert f"left alone: {path}: was written by somebody else" in outcome.text
    assert path.read_text() == text


def test_bytes_that_are_no_text_are_somebody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_bytes(b"\xff\xfe\x00")
    assert make(Place("prometheus", {path: OURS})).exit_code == 2
    assert path.read_bytes() == b"\xff\xfe\x00"


def test_a_missing_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: is not a folder"):
        plan_files(Place("prometheus", {tmp_path / "nowhere" / "a.yml": OURS}), MARKER)


def test_the_server_is_told_once_and_only_of_a_change(tmp_path: Path) -> None:
    with webhook_server("/prefix") as server:
        place = Place("prometheus", {tmp_path / "a.yml": f"{OURS}x", tmp_path / "b.yml": OURS}, tmp_path, server.url)
        assert "prometheus has read its files again" in make(place).text
        make(place)
        assert [one.path for one in server.received] == ["/prefix/-/reload"]


def test_a_server_without_an_address_has_to_be_told_by_a_person(tmp_path: Path) -> None:
    assert "was not told" in make(Place("prometheus", {tmp_path / "a.yml": OURS})).text


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(500, b"failed to reload config: bad rule"), "bad rule"),
        (Answer(403, b"Lifecycle API is not enabled."), "--web.enable-lifecycle"),
        (Answer(302, headers={"Location": "https://elsewhere.example.org"}), "a redirect"),
        (Answer(hang_up=True), "no answer"),
    ],
)
def test_files_that_the_server_does_not_take_are_put_back(tmp_path: Path, answer: Answer, said: str) -> None:
    folder = folder_of(tmp_path, old=f"{OURS}gone", now=f"{OURS}before")
    with webhook_server() as server:
        place = Place("prometheus", {folder / "now.yml": f"{OURS}after", folder / "new.yml": OURS}, folder, server.url)
        server.answers.append(answer)
        outcome = make(place)
        assert outcome.exit_code == 3
        assert said in outcome.text
        assert outcome.text.splitlines()[-1] == "nothing changed, 1 failed, 2 not tried, 0 unchanged"
        assert contents(folder) == {"now.yml": f"{OURS}before", "old.yml": f"{OURS}gone"}
        assert make(place).exit_code == 0
        assert contents(folder) == {"new.yml": OURS, "now.yml": f"{OURS}after"}


def test_a_file_that_cannot_be_written_takes_the_others_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path, a=f"{OURS}before", b=f"{OURS}before")
    place = Place("prometheus", {folder / f"{name}.yml": f"{OURS}after" for name in "ab"}, folder)
    plan, journal = plan_files(place, MARKER), Journal()
    honest = Path.replace

    def full(self: Path, target: Path) -> Path:
        if Path(target).name == "b.yml":
            raise OSError(28, "No space left on device")
        return honest(self, target)

    monkeypatch.setattr(files.Path, "replace", full)
    apply_files(place, plan, journal)
    outcome = journal.outcome(plan)
    assert outcome.exit_code == 3
    assert "b.yml: cannot be written: No space left on device" in outcome.text
    assert contents(folder) == {"a.yml": f"{OURS}before", "b.yml": f"{OURS}before"}


def test_a_file_keeps_its_mode_and_a_new_one_can_be_read_by_the_server(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yml", tmp_path / "new.yml"
    old.write_text("x")
    old.chmod(0o640)
    write_file(old, "y")
    write_file(new, "z")
    assert (old.stat().st_mode & 0o777, new.stat().st_mode & 0o777) == (0o640, 0o644)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.yml", "old.yml"]


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(DeliveryFailed, match=r"prometheus, http://127\.0\.0\.1:9: no answer"):
        reload("http://127.0.0.1:9", "prometheus")


def test_what_is_no_file_is_not_taken_the_place_of(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rules.yml")
    with pytest.raises(StoreError, match="it is no file"):
        write_file(tmp_path / "rules.yml", "groups: []\n")
    assert (tmp_path / "rules.yml").is_fifo()
