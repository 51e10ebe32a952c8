"""What a whole canary run costs beside one plain batched generation, and what its reports weigh.

The run is the runner's own, `run_canaries`, with its manifest and index rows. The model has the shape of `llama-12` and
never stops early. Both sides generate the same prompts in one batch, with a model that was loaded, and whose weights
were read, a moment ago; what comes before the first generation is left out on both.
"""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from model_health.bench.models import SHAPES, build_shape
from model_health.config.load import load_project
from model_health.config.project import ProjectConfig
from model_health.config.settings import Settings, load_settings
from model_health.runner.batches import make_batches
from model_health.runner.canary import run_canaries
from model_health.runner.generate import generate_plain
from model_health.runner.identity import identify
from model_health.runner.loading import load_model
from model_health.runner.loading_quiet import quiet_transformers
from model_health.runner.prompts import tokenize
from model_health.runner.request import RunOutcome, RunRequest

PROMPTS = 16
NEW_TOKENS = 64
WORDS = 16
NAME = "bench"

Say = Callable[[str], None]


def measure_suite(rounds: int, say: Say, *, shape: str = "llama-12", threads: int = 1) -> dict[str, list[float]]:
    """By name: ratios of a run to a plain generation, the shares of making and storing, bytes per report."""
    names = ("suite_cpu", "suite_wall", "writing_share", "storing_share", "report_bytes")
    found: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="model-health-bench-") as folder:
        settings = _project(Path(folder), shape, threads)
        project = load_project(settings)
        for number in range(rounds + 1):
            sides = [_plain, _watched] if number % 2 else [_watched, _plain]
            spent = {side.__name__: side(settings, project, number) for side in sides}
            plain, watched = spent["_plain"], spent["_watched"]
            if number:  # the first round warms up
                found["suite_cpu"].append(watched["cpu"] / plain["cpu"])
                found["suite_wall"].append(watched["wall"] / plain["wall"])
                found["writing_share"].append(watched["making"] + watched["storing"])
                found["storing_share"].append(watched["storing"])
                found["report_bytes"].append(watched["bytes"])
                say(f"suite, round {number} of {rounds}: {watched['cpu']:.2f} s CPU, plain {plain['cpu']:.2f} s")
    return found


def _plain(settings: Settings, project: ProjectConfig, number: int) -> dict[str, float]:
    loaded = load_model(project.get_model(NAME), settings)
    identify(loaded)  # reads every weight, as the run does before it generates
    batches = make_batches(tokenize(project.get_suite(NAME), loaded), loaded, PROMPTS)
    assert len(batches) == 1, "prompts of one length are one batch"
    gc.collect()  # what the other side left is no cost of this one
    cpu = process_time()
    wall = generate_plain(loaded, batches[0])
    return {"cpu": process_time() - cpu, "wall": wall}


def _watched(settings: Settings, project: ProjectConfig, number: int) -> dict[str, float]:
    began: list[tuple[float, float]] = []

    def say(line: str) -> None:
        if ": loaded in " in line:  # what the runner says before it generates
            gc.collect()
            began.append((process_time(), perf_counter()))

    outcome = run_canaries(RunRequest(model=NAME, run_id=f"bench-{number}"), settings, say=say)
    cpu, wall = process_time() - began[0][0], perf_counter() - began[0][1]
    sizes = list(_report_bytes(settings))
    return {
        "cpu": cpu,
        "wall": wall,
        **_shares(outcome),
        "bytes": sum(sizes) / len(sizes),
    }


def _shares(outcome: RunOutcome) -> dict[str, float]:
    """Of generating, making reports and storing them: the last two."""
    record = outcome.manifest.performance
    assert record is not None
    spent = {name: record.seconds(name) or 0.0 for name in ("generate", "report", "store")}
    return {"making": spent["report"] / sum(spent.values()), "storing": spent["store"] / sum(spent.values())}


def _report_bytes(settings: Settings) -> Iterator[int]:
    for file in Path(settings.store_uri).rglob("*.json.gz"):
        yield file.stat().st_size


def _project(home: Path, shape: str, threads: int) -> Settings:
    """A project with one model and one suite of `PROMPTS` prompts of `WORDS` tokens each."""
    model = build_shape(SHAPES[shape])
    weights = home / "weights"
    model.config.eos_token_id = None
    with quiet_transformers():
        model.save_pretrained(weights)
    size = int(model.config.vocab_size)
    _tokenizer(size).save_pretrained(weights)
    entry = {"name": NAME, "source": {"path": "weights"}, "device": "cpu", "suites": [NAME], "threads": threads}
    prompts = [
        {"id": f"p{number}", "group": "facts", "text": " ".join(f"w{(97 * number + 31 * word) % size}"
                                                                for word in range(WORDS))}
        for number in range(PROMPTS)
    ]  # fmt: skip
    suite = {"name": NAME, "version": "1.0.0", "defaults": {"max_new_tokens": NEW_TOKENS}, "prompts": prompts}
    for path, content in ((f"models/{NAME}.yaml", entry), (f"canaries/{NAME}.yaml", suite)):
        file = home / "configs" / path
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(content))  # JSON is YAML
    return load_settings({"MODEL_HEALTH_HOME": str(home)})


def _tokenizer(size: int) -> Any:
    """One token a word: `w0`, `w1` and so on."""
    first = "w0"
    backend = Tokenizer(WordLevel({f"w{number}": number for number in range(size)}, unk_token=first))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token=first, pad_token=first)
