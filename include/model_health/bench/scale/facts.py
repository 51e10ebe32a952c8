"""Measures single things that the cost model multiplies: sizes, series, requests, and reading many models' files."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Final

from model_health.bench.scale.made import Load
from model_health.bench.scale.recorded import Recording, model_name
from model_health.bench.scale.records import Facts
from model_health.bench.scale.world import START, make_home
from model_health.config.load import load_project
from model_health.config.sinks import SinksConfig
from model_health.report.serialise import to_json
from model_health.sinks.context import context_of
from model_health.sinks.datadog_series import api_series
from model_health.sinks.groups import groups_of
from model_health.sinks.series import series_of

TOKENS: Final = 64
LAYERS: Final = 12
PROMPTS: Final = 16
CONFIGURED: Final = (10, 100, 1000)


def measure_facts(folder: Path, shipped: Path) -> Facts:
    """All of them; `folder` is empty, `shipped` the folder of configurations that gates are taken from."""
    load = Load()
    recording = Recording(prompts=PROMPTS, tokens=TOKENS, layers=LAYERS)
    one = Recording(prompts=1, tokens=TOKENS, layers=LAYERS).play(model_name(0), "run", START)
    run = recording.play(model_name(0), "run", START)
    per_prompt = (len(run.samples) - len(one.samples)) // (PROMPTS - 1)
    context, sinks = context_of(run.manifest), SinksConfig()
    pushed = series_of(run.samples, context, by_group=True, extra={})
    sent = series_of(run.samples, context, by_group=False, extra={})
    late = api_series(
        sent, START + timedelta(minutes=1), host=None, late_points=sinks.datadog.late_points, subject="facts"
    )
    manifests = [len(to_json(played.manifest, indent=2)) for played in (one, run)]
    return Facts(
        made=load.made(),
        report_bytes=sum(map(len, recording.files)) // len(recording.files),
        tokens=TOKENS,
        layers=LAYERS,
        manifest_bytes_per_prompt=(manifests[1] - manifests[0]) / (PROMPTS - 1),
        points_per_prompt=per_prompt,
        points_per_run=len(one.samples) - per_prompt,
        prometheus_series=len(pushed),
        prometheus_pushes=len(groups_of(pushed)),
        datadog_series=len(sent),
        datadog_bytes=len(zlib.compress(json.dumps({"series": late}).encode(), wbits=16 + zlib.MAX_WBITS)),
        import_cpu=_import_cpu(),
        config_cpu={str(count): _config_cpu(folder / str(count), shipped, count) for count in CONFIGURED},
    )


def _import_cpu() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", "import torch, transformers"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _config_cpu(home: Path, shipped: Path, count: int) -> float:
    settings = make_home(
        home, shipped, [model_name(number) for number in range(count)], "http://127.0.0.1:9", local=False
    )
    began = time.process_time()
    project = load_project(settings)
    spent = time.process_time() - began
    assert len(project.models) == count, "a made-up model is refused"
    return spent
