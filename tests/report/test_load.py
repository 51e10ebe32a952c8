"""Reading and converting: every version, every trap, and every way in which a file can be bad."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_health.errors import ReportError, StoreError
from model_health.report.builder import build_report
from model_health.report.load import convert_file, iter_reports, list_reports, load_manifest, load_report
from model_health.report.nulls import Reasons
from model_health.report.serialise import to_json
from support.manifests import make_manifest
from support.telemetry import decode, make_facts, make_findings, make_telemetry
from support.traces import Nulls, Reader030, encode, trace, with_traps, write, write_sqlite

VERSIONS = ("0.2.0", "0.3.0", "0.4.0")
HIDDEN = "timeline.layers.hidden_summary"


def norms(content: Any, step: int = 0) -> list[float | None]:
    return [layer.hidden_summary.l2_norm_mean for layer in content.timeline[step].layers]


def entropies(content: Any, step: int = 0) -> list[float | None]:
    return [layer.attention_summary.entropy_mean for layer in content.timeline[step].layers]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("nulls", ["written", "left_out"])
@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_every_version_loads_plain_and_gzipped(tmp_path: Path, version: str, nulls: Nulls, name: str) -> None:
    report = load_report(write(tmp_path / name, trace(version), nulls=nulls))
    assert report.schema_version == "0.3.0"
    assert report.model_health.converted_from is not None
    assert report.model_health.converted_from.schema_version == version
    assert report.timeline[1].logits_summary.entropy == pytest.approx(2.1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("nulls", ["written", "left_out"])
def test_every_trap_at_once_gives_a_valid_report(version: str, nulls: Nulls) -> None:
    report = load_report(encode(with_traps(trace(version)), nulls=nulls))
    reasons = Reasons(report.model_health.not_measured)
    assert all(reasons.find(gap) for gap in report.gaps())
    assert report.timeline[0].logits_summary.entropy is None
    assert report.why_null("timeline.logits_summary.entropy", step=0) == f"not finite in the v{version} file"
    assert report.timeline[0].logits_summary.topk == ()
    assert report.timeline[0].token.token_text == "\ufffd"
    assert report.created_at_utc.isoformat() == "2026-01-11T15:22:08+00:00"
    text = to_json(report)
    json.loads(text, parse_constant=lambda token: pytest.fail(token))
    content = json.loads(text)
    assert Reader030.model_validate(content)


def test_a_shifted_causal_file_gets_each_block_its_own_output() -> None:
    report = load_report(encode(trace("0.3.0", layers=3)))
    assert report.model_health.converted_from is not None
    assert report.model_health.converted_from.layout == "embedding_first"
    assert norms(report) == [100.0, 101.0, None]
    assert entropies(report) == [0.5, 0.6, 0.7]
    assert "embedding" in str(report.why_null(f"{HIDDEN}.l2_norm_mean", step=0, layer=2))
    assert "layers_renumbered" in [warning.code for warning in report.warnings]
    assert report.timeline[0].layers[2].anomalies is None


@pytest.mark.parametrize(
    "marks", [{"later": True}, {"fingerprint": 2}, {"encoder": True}], ids=["topk_mass", "fingerprint", "encoder"]
)
def test_a_file_that_lists_blocks_keeps_its_layers(marks: dict[str, Any]) -> None:
    report = load_report(encode(trace("0.4.0", layers=3, **marks)))
    assert norms(report) == [100.0, 101.0, 102.0]
    assert entropies(report) == [0.5, 0.6, 0.7]
    assert report.model_health.converted_from is not None
    assert report.model_health.converted_from.layout == "blocks"


def test_an_old_fingerprint_does_not_mark_blocks() -> None:
    assert norms(load_report(encode(trace("0.4.0", fingerprint=1))))[-1] is None


def test_a_converted_file_bears_the_mark_of_blocks() -> None:
    report = load_report(encode(trace("0.3.0")))
    assert report.timeline[0].logits_summary.topk_mass == report.timeline[0].logits_summary.voter_agreement


def test_what_v020_lacks_is_null_with_the_reason() -> None:
    report = load_report(encode(trace("0.2.0")))
    assert report.prompt_analysis is None
    assert report.health_flags is None
    for part in ("prompt_analysis", "health_flags", "timeline.logits_summary.surprisal", "model_health.loops"):
        assert report.why_null(part, step=0) == "absent from v0.2.0 file"
    assert report.model_health.unhealthy_flags is None


def test_encoder_layers_and_cross_attention_survive() -> None:
    report = load_report(encode(trace("0.3.0", encoder=True)))
    assert report.encoder_layers is not None
    assert [item.hidden_summary.l2_norm_mean for item in report.encoder_layers] == [100.0, 101.0, 102.0]
    assert report.timeline[0].layers[0].cross_attention is not None


def test_counts_that_were_zero_because_nothing_was_measured_become_null() -> None:
    report = load_report(encode(trace("0.3.0", attended=False)))
    assert report.timeline[0].layers[0].attention_summary.collapsed_head_count is None
    part = "timeline.layers.attention_summary.collapsed_head_count"
    assert report.why_null(part, step=0, layer=0) == "attention was not measured"


@pytest.mark.parametrize("later", [False, True])
def test_narratives_and_blamed_layers_of_either_shape_are_kept(later: bool) -> None:
    content = trace("0.4.0", later=later)
    report = load_report(encode(content))
    assert report.extensions["narrative"] == content["extensions"]["narrative"]
    assert report.extensions["risk"] == content["extensions"]["risk"]


def test_flags_of_the_file_are_raised_by_name() -> None:
    content = trace("0.3.0")
    content["health_flags"]["nan_detected"] = True
    assert load_report(encode(content)).model_health.flags == ("attention_collapse_detected", "nan_detected")


def test_a_trace_without_layers_loads() -> None:
    content = trace("0.4.0")
    for step in content["timeline"]:
        step["layers"] = []
    assert load_report(encode(content)).timeline[0].layers == ()


def other(identity: str, version: str = "0.4.0") -> dict[str, Any]:
    return {**trace(version), "trace_id": identity}


@pytest.mark.parametrize("compressed", [True, False])
def test_the_sqlite_form_is_read_blob_first(tmp_path: Path, compressed: bool) -> None:
    path = write_sqlite(tmp_path / "runs.db", [trace("0.3.0")], compressed=compressed)
    assert load_report(path).trace_id == trace("0.3.0")["trace_id"]
    assert load_report(path.read_bytes()) == load_report(path)


def test_several_reports_are_listed_iterated_and_named(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "runs.db", [other("a"), other("b", "0.2.0")])
    assert [row.trace_id for row in list_reports(path)] == ["a", "b"]
    assert [report.trace_id for report in iter_reports(path)] == ["a", "b"]
    assert load_report(path, trace_id="b").trace_id == "b"
    with pytest.raises(ReportError, match="several reports"):
        load_report(path)
    with pytest.raises(ReportError, match="holds no report c"):
        load_report(path, trace_id="c")


def test_a_plain_file_is_listed_too(tmp_path: Path) -> None:
    (row,) = list_reports(write(tmp_path / "t.json", trace("0.2.0")))
    assert (row.model_id, row.schema_version) == ("gpt2", "0.2.0")


def bad_sqlite(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE other (x)")
    database.close()


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"hello", "is not JSON"),
        (b"[1]", "a JSON list, not an object"),
        (b"\xff\xfe{", "not UTF-8"),
        (b'{"schema_version": "0.3.0", "trace', "is cut off"),
        (gzip.compress(encode(trace("0.3.0")))[:200], "cut off"),
        (b"\x1f\x8bnonsense-nonsense", "damaged gzip"),
        (b"{}", "no schema_version"),
        (b'{"schema_version": "0.1.0"}', "0.1.0"),
        (b'{"schema_version": "9.9.9"}', "9.9.9"),
        (b'{"schema_version": ["0.3.0"]}', "cannot be read"),
        (b'{"schema_version": "0.3.0"}', "trace_id: Field required"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not a report"),
        (b"SQLite format 3\x00" + b"garbage" * 50, "damaged SQLite"),
        (encode({**trace("0.3.0"), "timeline": 7}), "timeline"),
        (encode({**trace("0.3.0"), "timeline": [1]}), "timeline"),
        (encode({**trace("0.3.0"), "prompt": "text"}), "prompt"),
        (encode({**trace("0.3.0"), "created_at_utc": "yesterday"}), "created_at_utc"),
        (encode({**trace("0.3.0"), "model_health": {"version": "7"}}), "not a valid report"),
    ],
)
def test_a_bad_file_is_one_line_that_names_file_and_cause(tmp_path: Path, data: bytes, cause: str) -> None:
    path = tmp_path / "bad-file"
    path.write_bytes(data)
    with pytest.raises(ReportError) as caught:
        load_report(path)
    assert cause in str(caught.value)
    assert "bad-file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_report_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(ReportError, match="cannot be read"):
            load_report(path)


def test_a_sqlite_file_without_reports_is_refused(tmp_path: Path) -> None:
    bad_sqlite(tmp_path / "x.db")
    with pytest.raises(ReportError, match="without a table of reports"):
        load_report(tmp_path / "x.db")


def test_a_huge_report_is_refused_also_when_it_is_small_on_disk(tmp_path: Path) -> None:
    data = b" " * 5_000_000 + encode(trace("0.3.0"))
    for content in (data, gzip.compress(data)):
        path = tmp_path / "huge"
        path.write_bytes(content)
        with pytest.raises(ReportError, match="larger than 1 MiB"):
            load_report(path, limit=2**20)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_converting_twice_changes_nothing(tmp_path: Path, version: str, suffix: str) -> None:
    source = write(tmp_path / "old.json", with_traps(trace(version)))
    (first,) = convert_file(source, tmp_path / f"first{suffix}")
    (second,) = convert_file(first, tmp_path / f"second{suffix}")
    assert first.read_bytes() == second.read_bytes()


def test_our_own_report_converts_to_the_same_bytes(tmp_path: Path) -> None:
    report = build_report(make_telemetry(), make_findings(), make_facts(), decode)
    source = tmp_path / "own.json"
    source.write_bytes(to_json(report))
    assert convert_file(source, source)[0].read_bytes() == to_json(report)


def test_a_database_converts_into_a_folder(tmp_path: Path) -> None:
    path = write_sqlite(tmp_path / "runs.db", [other("../../a"), other("b")])
    written = convert_file(path, tmp_path / "out")
    assert [item.relative_to(tmp_path) for item in written] == [Path("out/______a.json.gz"), Path("out/b.json.gz")]
    with pytest.raises(ReportError, match="holds 2 reports"):
        convert_file(path, tmp_path / "one.json")


def test_a_conversion_that_fails_writes_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"schema_version": "0.1.0"}')
    with pytest.raises(ReportError):
        convert_file(bad, tmp_path / "out" / "good.json")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["bad.json"]


def test_a_target_that_cannot_be_written_is_a_store_error_and_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path / "old.json", trace("0.3.0"))
    goal = tmp_path / "taken.json"
    goal.mkdir()
    with pytest.raises(StoreError, match=r"taken\.json"):
        convert_file(source, goal)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["old.json", "taken.json"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
places = st.sampled_from(["timeline", "model", "summary", "prompt", "warnings", "encoder_layers", "prompt_analysis"])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(VERSIONS), places, json_values)
def test_any_damage_to_a_field_either_loads_or_is_a_report_error(version: str, place: str, value: Any) -> None:
    content = trace(version)
    content[place] = value
    try:
        report = load_report(encode(content))
    except ReportError:
        return
    assert load_report(to_json(report)) == report


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_either_load_or_are_a_report_error(data: bytes) -> None:
    with pytest.raises(ReportError):
        load_report(data)


def test_a_trace_of_nested_bags_is_refused_before_the_stack_ends() -> None:
    content = trace("0.3.0")
    content["extensions"]["deep"] = "@"
    deep = encode(content).replace(b'"@"', b'{"a":' * 600 + b"1" + b"}" * 600)
    with pytest.raises(ReportError, match=r"nested too deep|Recursion|recursion"):
        load_report(deep)


def test_a_database_without_rows_holds_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="holds no manifest"):
        load_manifest(write_sqlite(tmp_path / "r.db", []))


def test_half_a_character_that_a_report_of_ours_escapes_is_refused_and_a_whole_one_is_read() -> None:
    ours = to_json(load_report(encode(trace("0.3.0")))).replace(b'"slow device"', b'"\\ud83d\\ude00"')
    assert load_report(ours).warnings[0].message == "\U0001f600"
    with pytest.raises(ReportError, match="it holds half a character"):
        load_report(ours.replace(b"\\ude00", b""))
    manifest = to_json(make_manifest(run_id="@"))
    with pytest.raises(ReportError, match="it holds half a character"):
        load_manifest(manifest.replace(b'"@"', b'"\\uDcff"'))


def test_what_is_no_file_is_not_taken_the_place_of(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)  # as a device in /dev, where an administrator may rename
    with pytest.raises(StoreError, match="it is no file"):
        convert_file(write(tmp_path / "old.json", trace("0.3.0")), pipe)
    assert pipe.is_fifo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.json", "pipe.json"]
