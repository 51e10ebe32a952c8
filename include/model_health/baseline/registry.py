"""Which baseline counts: promotions with their history, and the names under which people ask for a baseline.

A promotion is a record that is added and never changed; the newest one says what counts. Nothing promotes by itself:
each needs somebody and a reason.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

from pydantic import AwareDatetime, Field, ValidationError

from model_health.baseline.artefact import Baseline
from model_health.baseline.document import Provenance
from model_health.baseline.store import BaselineStore
from model_health.errors import BadInput, StoreError
from model_health.report.base import Frozen
from model_health.report.serialise import to_json

MIN_PREFIX = 6


class Promotion(Frozen):
    """One baseline became the one that counts.

    Args:
        number: 1 for the first of a (model, suite).
        baseline_id: what counts from here on.
        replaced: what counted before, null for the first.
        promoted_at, provenance: when, by whom and why.
    """

    number: int = Field(ge=1)
    model_name: str
    suite: str
    baseline_id: str
    replaced: str | None
    promoted_at: AwareDatetime
    provenance: Provenance


def history(store: BaselineStore, model: str, suite: str) -> tuple[Promotion, ...]:
    """Every promotion, oldest first.

    Raises:
        StoreError: one cannot be read.
    """
    found = []
    for number, baseline_id, content in store.promotions(model, suite):
        try:
            promotion = Promotion.model_validate(json.loads(content))
        except (ValidationError, ValueError) as error:
            raise StoreError("cannot be read", subject=f"promotion {number} of {model}/{suite}") from error
        if (promotion.number, promotion.baseline_id) != (number, baseline_id):
            raise StoreError("is not what its name says", subject=f"promotion {number} of {model}/{suite}")
        found.append(promotion)
    # two that were made at the same moment have the same number: the order is the same for every reader
    return tuple(sorted(found, key=lambda one: (one.number, one.promoted_at, one.baseline_id)))


def current(store: BaselineStore, model: str, suite: str) -> Promotion | None:
    """The promotion that counts; None where nothing was promoted yet."""
    promotions = history(store, model, suite)
    return promotions[-1] if promotions else None


def promote(
    store: BaselineStore, model: str, suite: str, baseline_id: str, provenance: Provenance, now: datetime
) -> Promotion:
    """Make a baseline the one that counts.

    Raises:
        StoreError: there is no such baseline, or it was changed after it was written.
        BadInput: it counts already.
    """
    store.read(model, suite, baseline_id)  # whole: what cannot be read must not count
    before = current(store, model, suite)
    if before is not None and before.baseline_id == baseline_id:
        raise BadInput(
            f"is promoted already, by {before.provenance.by} on {before.promoted_at:%Y-%m-%d}",
            subject=f"{model}/{suite}/{baseline_id[:12]}",
        )
    promotion = Promotion(
        number=before.number + 1 if before is not None else 1,
        model_name=model,
        suite=suite,
        baseline_id=baseline_id,
        replaced=before.baseline_id if before is not None else None,
        promoted_at=now,
        provenance=provenance,
    )
    store.add_promotion(model, suite, promotion.number, baseline_id, to_json(promotion))
    return promotion


def promote_named(store_uri: str, reference: str, provenance: Provenance, now: datetime | None = None) -> Promotion:
    """Promote the baseline that a reference names, in the store at a URI; raises as `find` and `promote`."""
    store = BaselineStore.open(store_uri)
    return promote(store, *find(store, reference), provenance, now or datetime.now(UTC))


def find(store: BaselineStore, reference: str) -> tuple[str, str, str]:
    """Model, suite and name of the baseline that a person asks for.

    Args:
        store: where to look.
        reference: `MODEL/SUITE` for the promoted one, `MODEL/SUITE/ID`, or `ID`; an id may be cut to 6 digits or more.

    Raises:
        BadInput: none, or more than one, is meant.
    """
    parts = reference.split("/")
    if len(parts) not in (1, 2, 3) or not all(parts):
        raise BadInput("is no baseline", subject=repr(reference), hint="write MODEL/SUITE, MODEL/SUITE/ID or ID")
    if len(parts) == 2:
        promoted = current(store, *parts)
        if promoted is None:
            raise BadInput("has no promoted baseline", subject=reference, hint="see: model-health baseline list")
        return promoted.model_name, promoted.suite, promoted.baseline_id
    prefix = parts[-1]
    if len(prefix) < MIN_PREFIX:
        raise BadInput(f"is shorter than {MIN_PREFIX} digits", subject=repr(prefix))
    known = store.baselines(*parts[:-1])
    meant = [one for one in known if one[2].startswith(prefix)]
    if len(meant) != 1:
        what = f"{len(meant)} baselines begin like this" if meant else "there is no such baseline"
        raise BadInput(what, subject=reference, hint="see: model-health baseline list")
    return meant[0]


def load(store: BaselineStore, reference: str) -> Baseline:
    """The baseline that a person asks for, whole; raises as `find` and `BaselineStore.read`."""
    return store.read(*find(store, reference))
