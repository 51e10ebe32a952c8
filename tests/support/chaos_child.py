"""A capture child without torch: it writes made-up reports through the library's own book, so kills of it are cheap.

    python chaos_child.py run --model M --suite S --run-id R --result-file F ...

What is written, in which order, by which code, is that of a real run; only where the numbers come from is not.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from model_health.config.settings import load_settings
from model_health.demo.occasion import Occasion
from model_health.demo.plan import DemoModel
from model_health.demo.reports import SUITE_IDENTITY, build, entry_of, manifest_of
from model_health.report.manifest import AirflowIds
from model_health.report.samples import samples_of_manifest
from model_health.runner.book import RunBook, record_of, run_start
from model_health.runner.request import RunOutcome, write_result
from model_health.store.index.index import Index
from model_health.store.reports import ReportStore
from support.fake_child import parse

MODEL = DemoModel("synthetic-quick", 2, 2, 16, 1000, entropy=2.0, per_token=0.01, story="it is killed")
SUITE = SUITE_IDENTITY.name


def main() -> int:
    """Write one run down, and leave its result."""
    arguments, now = parse(sys.argv[1:]), datetime.now(UTC)
    night = Occasion(MODEL, day=0, days=90, seed=1, started=now)
    print("made", file=sys.stderr, flush=True)
    settings = load_settings()
    airflow = AirflowIds(dag_id="chaos", run_id=arguments.run_id, try_number=int(arguments.airflow_try))
    start = run_start(MODEL.name, SUITE, arguments.run_id, now, suite_version="1.0.0",
                      suite_digest=SUITE_IDENTITY.digest, airflow=airflow)  # fmt: skip
    with Index.open(settings.index_url) as index:
        book = RunBook(ReportStore.open(arguments.out), index, start, ("local",))
        book.begin()
        made = build(night, night.effect)
        entries, records = [], []
        for one in made:
            stored = book.keep(one.trace, one.prompt.id)
            entries.append(entry_of(one, stored.uri, stored.digest, one.samples))
            records.append(record_of(entries[-1], one.trace.model_health.stopped_by, {}))
            book.alive()
        manifest = manifest_of(night, entries).model_copy(update={"run_id": arguments.run_id, "airflow": airflow})
        samples = [replace(sample) for one in made for sample in one.samples] + samples_of_manifest(manifest)
        stored = book.finish(manifest, records, samples)
    outcome = RunOutcome(manifest, stored.uri, stored.digest)
    write_result(Path(arguments.result_file), outcome.summary())
    return int(outcome.exit_code)


if __name__ == "__main__":
    sys.exit(main())
