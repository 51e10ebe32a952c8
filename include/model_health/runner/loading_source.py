"""From a configured source to a checked folder on this disk, with what is known of where it came from.

Knows the four forms of a source and what each needs (download, conversion, nothing). Nothing is built here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_health.config.settings import Settings
from model_health.config.sources import ModelSource, resolve_source
from model_health.runner.gguf import Progress, converted_folder
from model_health.runner.loading_files import check_config_file, check_folder
from model_health.runner.loading_hub import HubRequest, commit_of, fetch_file, fetch_snapshot


@dataclass(frozen=True)
class SourceFacts:
    """Where a model's files came from.

    `kind` is hub, path, gguf or hub_gguf; `label` is the hub id, folder or file as configured; `revision` is what was
    asked for and `commit` what it stood for (hub only); `gguf_sha256` is the digest of the GGUF file.
    """

    kind: str
    label: str
    revision: str | None = None
    commit: str | None = None
    gguf_sha256: str | None = None


@dataclass(frozen=True)
class Located:
    """A folder that holds a model (or a tokenizer), its facts, and the names of the weights' files that are pickles."""

    folder: Path
    facts: SourceFacts
    pickled: tuple[str, ...] = ()


def locate(
    source: ModelSource,
    settings: Settings,
    *,
    tokenizer_only: bool = False,
    with_code: bool = False,
    with_pickles: bool = False,
    hub_cache: Path | None = None,
    progress: Progress | None = None,
) -> Located:
    """Find, fetch or convert the files of a source.

    Args:
        source: the configured source.
        settings: `home` for relative paths, `cache_dir` for converted files, `offline`.
        tokenizer_only: the source needs no config and no weights.
        with_code: fetch Python files of a hub repository too.
        with_pickles: take pickled weights of a local folder where it holds no safetensors.
        hub_cache: the hub client's cache folder, its own default if None.
        progress: told what takes long.

    Raises:
        ModelSourceError: anything that is missing or damaged, by name.
        CouldNotMeasure: a conversion cannot be written.
    """
    resolved = resolve_source(source, settings.home)
    commit = digest = None
    request = HubRequest(resolved.location, resolved.revision, settings.offline, hub_cache)
    if resolved.gguf_file is not None:
        file = resolved.gguf_path or fetch_file(request, resolved.gguf_file)
        commit = commit_of(file)
        folder, digest = converted_folder(file, settings.cache_dir, progress=progress)
    elif resolved.is_local:
        folder = Path(resolved.location)
    else:
        if progress is not None and not settings.offline:
            progress(f"fetching {resolved.location} from the hub or its cache")
        folder = fetch_snapshot(request, with_weights=not tokenizer_only, with_code=with_code)
        commit = commit_of(folder)
    pickled: tuple[str, ...] = ()
    if not tokenizer_only:
        files = check_folder(folder, pickled=with_pickles and source.kind == "path")
        pickled = tuple(file.name for file in files if file.suffix != ".safetensors")
    elif source.kind == "path" and not any(folder.iterdir()):
        check_config_file(folder)
    return Located(folder, SourceFacts(source.kind, source.label, resolved.revision, commit, digest), pickled)
