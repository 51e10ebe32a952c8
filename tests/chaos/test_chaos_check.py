"""The checks of the chaos suite find what they are there for: each violation is planted, and named."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, update

from model_health.config.settings import Settings
from model_health.runner.reap import reap
from model_health.store.index.index import Index, utc_now
from model_health.store.index.records import RunStart
from model_health.store.index.tables import metric_points, runs, samples
from model_health.store.index.tables_outbox import outbox, outbox_attempts
from model_health.store.index.tables_trends import trend_days
from support.chaos_check import Clean, check_run, place_of
from support.chaos_supervised import SINKS, Installation
from support.chaos_whole import check_whole, not_back
from support.configs import make_settings

pytestmark = pytest.mark.slow

RUN = "calm"


@dataclass
class Scene:
    """An installation after one undisturbed run, to be spoilt."""

    place: Installation
    clean: Clean

    @property
    def settings(self) -> Settings:
        return self.place.settings

    @property
    def folder(self) -> Path:
        return place_of(self.settings) / self.place.folder(RUN).path

    def change(self, *statements: object) -> None:
        with Index.open(self.settings.index_url) as index, index.transaction("plant") as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload]

    def wrong(self) -> list[str]:
        found = check_run(self.settings, self.place.folder(RUN), self.clean, SINKS, arrived=True)
        return [*found.violations, *check_whole(self.settings)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    place = Installation.make(tmp_path_factory.mktemp("chaos") / "home", quick=True)
    clean, _ = place.calibrate(RUN)
    return Scene(place, clean)


@pytest.fixture
def scene(original: Scene, tmp_path: Path) -> Scene:
    home = shutil.copytree(original.settings.home, tmp_path / "home")
    return Scene(Installation(make_settings(home), original.place.model, original.place.suite), original.clean)


def half_a_report(scene: Scene) -> None:
    report = sorted(scene.folder.glob("*.json.gz"))[0]
    report.write_bytes(report.read_bytes()[:100])


def another_report(scene: Scene) -> None:
    report = sorted(scene.folder.glob("*.json.gz"))[0]
    text = gzip.decompress(report.read_bytes()).replace(b'"run_id"', b'"run_ID"', 1)
    report.write_bytes(gzip.compress(text))


def no_report(scene: Scene) -> None:
    sorted(scene.folder.glob("*.json.gz"))[0].unlink()


def report_of_nobody(scene: Scene) -> None:
    shutil.copy(sorted(scene.folder.glob("*.json.gz"))[0], scene.folder / "nobody.json.gz")


def unfinished_write(scene: Scene) -> None:
    (scene.folder / ".capital.json.gz.1-abcd.tmp").write_bytes(b"ha")


def half_a_manifest(scene: Scene) -> None:
    manifest = scene.folder / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:200])


def no_manifest(scene: Scene) -> None:
    (scene.folder / "manifest.json").unlink()


def files_of_no_run(scene: Scene) -> None:
    shutil.copytree(scene.folder, scene.folder.with_name("stray-0123456789ab"))


def point_lost(scene: Scene) -> None:
    one = select(metric_points.c.series_id).limit(1).scalar_subquery()
    scene.change(delete(metric_points).where(metric_points.c.series_id == one))


def sample_lost(scene: Scene) -> None:
    scene.change(delete(samples).where(samples.c.prompt_id == "capital"))


def metric_doubled(scene: Scene) -> None:
    scene.change(update(trend_days).values(measured=trend_days.c.measured * 2, total=trend_days.c.total * 2))


def still_under_way(scene: Scene) -> None:
    scene.change(update(runs).values(status="started"))


def numbers_twice_in_the_outbox(scene: Scene) -> None:
    names = [column.name for column in outbox.columns if column.name not in ("id", "key")]
    again = select((outbox.c.key + "2").label("key"), *(outbox.c[name] for name in names))
    scene.change(insert(outbox).from_select(["key", *names], again))


def numbers_never_sent(scene: Scene) -> None:
    scene.change(delete(outbox))


def numbers_held_for_ever(scene: Scene) -> None:
    scene.change(update(outbox).values(state="held", delivered_at=None, payload="{}"))


def delivered_twice(scene: Scene) -> None:
    names = ("item_id", "started_at", "ended_at", "outcome")
    again = select((outbox_attempts.c.owner.concat("x")), *(outbox_attempts.c[name] for name in names))
    scene.change(insert(outbox_attempts).from_select(["owner", *names], again))


def lines(scene: Scene) -> Path:
    return scene.settings.home / ".model-health/metrics/metrics.jsonl"


def line_doubled(scene: Scene) -> None:
    text = lines(scene).read_text().splitlines(keepends=True)
    lines(scene).write_text("".join([*text, next(line for line in text if '"calm"' in line)]))


def line_lost(scene: Scene) -> None:
    text = lines(scene).read_text().splitlines(keepends=True)
    lines(scene).write_text("".join(text[1:]))


def line_torn(scene: Scene) -> None:
    text = lines(scene).read_text()
    lines(scene).write_text(text.replace("}\n", "\n", 1))


PLANTED: dict[Callable[[Scene], None], str] = {
    half_a_report: "its report is not the one that the manifest names",
    another_report: "its report is not the one that the manifest names",
    no_report: "its report is missing",
    report_of_nobody: "a report that no manifest names: nobody.json.gz",
    unfinished_write: "a file that belongs to nothing",
    half_a_manifest: "its manifest cannot be read",
    no_manifest: "no manifest",
    files_of_no_run: "files, but no row",
    point_lost: "1 points are lost",
    sample_lost: "1 samples are lost, such as capital",
    metric_doubled: "its points are",
    still_under_way: "it never ended",
    numbers_twice_in_the_outbox: "2 items of its numbers for local, not one",
    numbers_never_sent: "0 items of its numbers for local, not one",
    numbers_held_for_ever: "its numbers for local are held",
    delivered_twice: "its numbers were delivered 2 times to local",
    line_doubled: "2 times in the local sink, sent 1 times",
    line_lost: "1 values never reached the local sink",
    line_torn: "line 1 is no JSON",
}


def test_an_undisturbed_run_breaks_no_promise(scene: Scene) -> None:
    assert scene.wrong() == []


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(scene: Scene, plant: Callable[[Scene], None]) -> None:
    plant(scene)
    found = scene.wrong()
    assert any(PLANTED[plant] in sentence for sentence in found), found


def test_what_a_run_that_was_not_measured_leaves_behind_is_found(scene: Scene) -> None:
    folder = scene.place.folder("dead")
    with Index.open(scene.settings.index_url) as index:
        index.start_run(RunStart(folder, "dead", utc_now()))
    reap(settings=scene.settings, clock=lambda: utc_now() + timedelta(hours=2), sleep=lambda seconds: None)
    assert check_run(scene.settings, folder, scene.clean, SINKS, arrived=False).violations == ()
    shutil.copy(scene.folder / "capital.json.gz", place_of(scene.settings) / folder.path)
    found = check_run(scene.settings, folder, scene.clean, SINKS, arrived=True)
    assert found.ended == "could_not_measure"
    assert "a report that no manifest names: capital.json.gz" in found.violations[0]
    assert "its numbers for local are pending" in found.violations[1]


def test_files_of_a_run_that_never_began_are_found(scene: Scene) -> None:
    folder = scene.place.folder("never")
    assert check_run(scene.settings, folder, scene.clean, SINKS, arrived=True).violations == ()
    shutil.copytree(scene.folder, place_of(scene.settings) / folder.path)
    found = check_run(scene.settings, folder, scene.clean, SINKS, arrived=True)
    assert found.ended == "never began"
    assert len(found.violations) == len(list(scene.folder.iterdir()))


@pytest.mark.parametrize(
    ("occupied", "gone", "child_left", "found"),
    [
        ({"gpu": 0, "default_pool": 0}, [], False, []),
        ({"gpu": 1, "default_pool": 0}, [], False, ["1 slots of the pool gpu are taken"]),
        (None, [], False, ["Airflow does not answer"]),
        ({"gpu": 0}, ["redis"], True, ["redis is not there", "a capture child is left"]),
    ],
)
def test_a_slot_a_service_or_a_child_that_is_not_as_it_was_is_found(
    occupied: dict[str, int] | None, gone: list[str], child_left: bool, found: list[str]
) -> None:
    assert not_back(occupied, gone, child_left) == found
