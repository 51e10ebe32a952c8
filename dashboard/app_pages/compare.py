"""The page that compares: a model with its baseline, or two runs of it. Widgets only.

The address holds what is compared: `?comparison=run:<key>` or `?kind=runs&pair=<model>/<suite>&first=..&second=..`.
"""

from __future__ import annotations

import streamlit as st

import compare_charts
import compare_data
import compare_rows
import data
import links
import pair_rows
import widgets
import wording
from model_health.baseline.stored_result import StoredResult
from model_health.errors import StoreError
from model_health.store.index.comparisons import ComparisonRecord

BASELINE, RUNS = "With a baseline", "Two runs"
GOLDEN, ANSWERS = "Golden text", "Accepted answers"
HIDDEN = ":material/visibility_off: Texts are hidden in this installation (`hide_text`)."


def main() -> None:
    """Draw the page."""
    widgets.header("Compare")
    kind = st.segmented_control(
        "What", [BASELINE, RUNS], default=BASELINE, required=True, key="kind", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    with widgets.said("The comparison cannot be read."):
        settings = data.settings()
        if kind == RUNS:
            runs(settings.index_url, settings.store_uri, texts=not settings.hide_text)
        else:
            baseline(settings.index_url, settings.store_uri, texts=not settings.hide_text)


# ----------------------------------------------------------------------------------------------- with a baseline
def baseline(url: str, store: str, *, texts: bool) -> None:
    """One comparison with a baseline: verdict, profile, effects, flips, evidence."""
    known = {compare_rows.address_of(record): record for record in compare_data.list_comparisons(url)}
    if not known and "comparison" not in st.query_params:
        widgets.nothing(
            "Nothing has been compared with a baseline yet.",
            "`model-health baseline create --model MODEL --promote --reason WHY` makes a baseline. From then on the "
            "Dag `nightly_regression` compares every night, and `model-health compare --baseline MODEL/SUITE` when "
            "you ask. Two runs can be compared without one: choose *Two runs* above.",
        )
        return
    chosen = links.choose(
        "Comparison", list(known), "comparison", format_func=lambda name: _label(known, name), help="Newest first"
    )
    record = known.get(chosen)
    if record is None and (asked := compare_rows.read_address(chosen)) is not None:
        record = compare_data.find_comparison(url, *asked)
    if record is None:
        st.warning(
            f"The index holds no comparison {wording.plain(chosen)}. It may have been removed: choose another above.",
            icon=":material/search_off:",
        )
        return
    _verdict(compare_rows.headline(record), record.outcome)
    if record.of_run:
        links.link("Open the run that was compared", "run", icon=":material/search:", run=record.key)
    try:
        result = compare_data.read_comparison(store, record)
    except StoreError as error:
        st.warning(f"Only what the index keeps is shown: {wording.plain(str(error))}", icon=":material/folder_off:")
        st.markdown(f"{wording.plain(record.finding)}\n\n{wording.plain(record.reason)}")
        return

    spots = compare_rows.states_of(result, _names(store, record, result))
    effect = result.harm.effect if result.harm is not None else None
    with st.container(horizontal=True):
        st.metric(
            "Answer",
            result.answer.replace("_", " "),
            border=True,
            height="stretch",
            help=compare_rows.ANSWERS.get(result.answer),
        )
        st.metric("First state out of band", compare_rows.first_out(spots) or "–", border=True, height="stretch")
        st.metric(
            "Golden text (bits per token)",
            "not measured" if effect is None else f"{effect.mean:+.4f}",
            None if effect is None or effect.low is None or effect.high is None
            else f"95 %: {effect.low:+.4f} to {effect.high:+.4f}",
            delta_color="off",
            delta_arrow="off",
            border=True, height="stretch",
            help="Change of surprisal on text that people wrote, mean over prompts; positive is worse",
        )  # fmt: skip
        flips = result.flips
        st.metric(
            "Tokens that flipped",
            "0" if flips is None else f"{flips.flipped} of {flips.of}",
            border=True,
            height="stretch",
        )
    if result.non_finite is not None:
        st.error(f"Not finite, first in {wording.plain(str(result.non_finite))}.", icon=":material/warning:")

    st.subheader("Where it begins")
    if spots:
        _profile(spots, "distance (relative)", "Mean distance of hidden states (relative)", "states")
        if result.place is not None:
            st.caption(f"Named place: {wording.plain(str(result.place))} ({wording.plain(result.place.reason)}).")
    else:
        widgets.nothing(f"Not measured: {wording.plain(result.reason)}")

    st.subheader("Which prompts")
    _prompts(result)
    st.subheader("Which tokens")
    _flips(store, record, result, texts=texts)
    with st.expander("The evidence"):
        if families := compare_rows.family_rows(result):
            widgets.table(
                families,
                "families",
                columns={
                    "Largest": st.column_config.NumberColumn(format="%.3g"),
                    "Of its limit": st.column_config.NumberColumn(format="%.3g", help="Above 1 is beyond tolerance"),
                },
            )
        facts = compare_rows.evidence(result, record)
        st.code("\n".join(f"{name:16} {value or '–'}" for name, value in facts.items()), language=None, wrap_lines=True)
        for reason in result.policy.reasons:
            st.markdown(f"- {wording.plain(reason)}")


def _prompts(result: StoredResult) -> None:
    said = st.segmented_control(
        "Text", [GOLDEN, ANSWERS], default=GOLDEN, required=True, key="text", bind="query-params",
        label_visibility="collapsed",
    )  # fmt: skip
    kind = "golden" if said == GOLDEN else "continuation"
    effects = compare_rows.effects_of(result, kind)
    if not effects:
        why = result.reason if result.numbers is None else "this comparison kept no effect of single prompts"
        widgets.nothing(f"Not measured: {wording.plain(why)}")
        return
    margin = result.harm.margin if result.harm is not None and kind == "golden" else None
    _effects(effects, margin, "effects")


def _flips(store: str, record: ComparisonRecord, result: StoredResult, *, texts: bool) -> None:
    if result.flips is None:
        st.caption("No token was looked at for flips: nothing lies beyond tolerance, or nothing could be paired.")
        return
    report = compare_data.read_flip_report(store, record)
    if not report.flipped:
        st.caption("No token flipped. That excludes neither a change nor harm: see the golden text above.")
        return
    st.caption(f"{report.flipped} of {report.tokens} tokens flipped, in {len(report.changed)} of {report.items} texts.")
    widgets.table(compare_rows.flip_counts(report), "flipped-texts", columns=_numbers("Surprisal (bits per token)"))
    if not texts:
        st.caption(HIDDEN)
    elif rows := compare_rows.flip_rows(report):
        widgets.table(rows, "flips", says="Each token that flipped", columns=_numbers("Swing (nats)"))
    else:
        st.caption("Texts are not quoted: `quote_text` is off in gates.yaml.")


# ------------------------------------------------------------------------------------------------------- two runs
def runs(url: str, store: str, *, texts: bool) -> None:
    """Two runs of one model on one suite."""
    pairs = [f"{entry.model}/{entry.suite}" for entry in data.list_models(url)]
    if not pairs and "pair" not in st.query_params:
        widgets.nothing("No run has been recorded yet.", "`make run` records one; two are needed to compare.")
        return
    left, middle, right = st.columns(3)
    with left:
        which = links.choose("Model and suite", pairs, "pair")
    model, _, suite = which.partition("/")
    found = {row.record.run_key: row.record for row in data.list_runs(url, model, suite) if row.prompts}
    asked = [name for name in ("first", "second") if name in st.query_params]
    if len(found) < 2 and len(asked) < 2:
        widgets.nothing(
            f"{wording.plain(which)} has {len(found)} measured runs; two are needed to compare.",
            "Start another with `make run`, or wait for the next hour.",
        )
        return
    keys = list(found)

    def label(key: str) -> str:
        return pair_rows.run_label(found[key]) if key in found else key

    with middle:
        second = links.choose("Run", keys, "second", format_func=label, help="Newest first")
    with right:
        earlier = [key for key in keys if key != second]
        healthy = [key for key in earlier if found[key].verdict == "healthy"]
        ordered = [*healthy[:1], *(key for key in earlier if key not in healthy[:1])]
        first = links.choose("Compared with", ordered, "first", format_func=label, help="The newest healthy run first")
    details = [data.read_run(url, key) for key in (first, second)]
    for key, detail in zip((first, second), details, strict=True):
        if detail is None:
            st.warning(f"The index holds no run {wording.plain(key)}.", icon=":material/search_off:")
            return
    old, new = details
    assert old is not None
    assert new is not None
    pair = compare_data.pair(url, store, first, second)
    limit = compare_data.limit_of_norms(store, model, suite)
    says, bad = pair_rows.pair_headline(pair, limit)
    (st.error if bad else st.success)(wording.plain(says), icon=":material/compare_arrows:")
    with st.container(horizontal=True):
        links.link("Open the run", "run", icon=":material/search:", run=second)
        links.link("Open the one it is compared with", "run", icon=":material/search:", run=first)

    st.subheader("What differs around them")
    if facts := pair_rows.differing_facts(old.record, new.record):
        wide = st.column_config.TextColumn(width="medium")
        widgets.table(facts, "differing", columns={"First run": wide, "Second run": wide})
    else:
        st.caption("Nothing that is recorded: the same revision, weights, precision, device, libraries and suite.")
    st.subheader("Where it begins")
    st.caption(
        "By the norms of hidden states, which is what reports keep of them: a change that leaves every norm as it was "
        "is not seen here. A comparison with a baseline looks at the states themselves."
    )
    spots = pair_rows.layers_of(pair, limit)
    if any(spot.value is not None for spot in spots):
        _profile(spots, "distance of norms (log ratio)", "Largest distance of norms (log ratio)", "layers")
        if limit is None:
            st.caption("No band: no promoted baseline of this model and suite has recorded harmless changes.")
    else:
        widgets.nothing("Not measured: no layer has a norm in both runs.")
    st.subheader("Which prompts")
    if effects := pair_rows.pair_effects(pair):
        _effects(effects, None, "pair-effects")
        st.caption("Over the tokens that both runs chose, up to the first that differs.")
    else:
        widgets.nothing("Not measured: the runs have no token with a surprisal in common.")
    st.subheader("Which tokens")
    if not texts:
        st.caption(HIDDEN)
    rows = pair_rows.divergence_rows(pair.prompts, texts=texts)
    widgets.table(rows, "divergences", says="Where each answer departs")


# ------------------------------------------------------------------------------------------------------- shared parts
def _verdict(text: str, outcome: str) -> None:
    box = {"pass": st.success, "warn": st.warning, "fail": st.error}.get(outcome, st.info)
    box(wording.plain(text))


def _profile(spots: list[compare_rows.Spot], what: str, axis: str, name: str) -> None:
    first = compare_rows.first_out(spots)
    none = "None is out of its band." if any(spot.limit is not None for spot in spots) else "No band is known."
    said = f"The first out of its band is {first}." if first else none
    widgets.chart(compare_charts.profile(spots, axis), f"{name}-chart", f"{axis} along the depth. {said}")
    st.caption(f"The foot of the axis is zero: the same {'bits' if name == 'states' else 'norms'}.")
    with st.expander("As a table"):
        rows = compare_rows.spot_rows(spots, what)
        widgets.table(rows, name, columns=_numbers(f"Mean {what}", f"Largest {what}", "Harmless up to"))


def _effects(effects: list[compare_rows.Effect], margin: float | None, name: str) -> None:
    worse = sum(one.reading == "worse" for one in effects if not one.overall)
    says = f"{worse} of {sum(not one.overall for one in effects)} prompts are worse by their own interval."
    widgets.chart(compare_charts.effects(effects, margin=margin), f"{name}-chart", f"Change of surprisal. {says}")
    st.caption(f"{says} A prompt's interval is over its own tokens, which hang together: only *all prompts* decides.")
    with st.expander("As a table"):
        widgets.table(
            compare_rows.effect_rows(effects), name, columns=_numbers("Change (bits per token)", "Low", "High")
        )


def _numbers(*names: str) -> dict[str, object]:
    return {name: st.column_config.NumberColumn(format="%.4g") for name in names}


def _label(known: dict[str, ComparisonRecord], name: str) -> str:
    return compare_rows.label(known[name]) if name in known else name


def _names(store: str, record: ComparisonRecord, result: StoredResult) -> tuple[str, ...]:
    if result.profile is not None:
        return ()
    return compare_data.state_names(store, record.model, record.suite, record.baseline_id)


main()
