"""Null means "not measured", and then there is a reason: finds the nulls of a trace, and the reasons that cover them.

A *gap* is one null of a measured field at one step and layer. An entry of `not_measured` covers a gap when its part is
the gap's field path or a parent of it, and its step and layer, where given, are the gap's. This module knows the marks
on the models (`report.base`), not what the fields mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from model_health.report.base import Axis, Measured
from model_health.report.extension import NotMeasured

ROUTER_LAYERS = ("model_health.router.layers", "model_health.router.encoder_layers")


class Gap(NamedTuple):
    """One null of a measured field: where it is."""

    part: str
    step: int | None = None
    layer: int | None = None


class Reasons:
    """Index over `not_measured`, to ask whether and why a gap is covered."""

    def __init__(self, entries: Iterable[NotMeasured]) -> None:
        self._why: dict[Gap, str] = {}
        for entry in entries:
            self._why.setdefault(Gap(entry.part, entry.step, entry.layer), entry.reason)

    def find(self, gap: Gap) -> str | None:
        """The reason of the narrowest entry that covers the gap, or None."""
        part = gap.part
        while part:
            for step, layer in ((gap.step, gap.layer), (None, gap.layer), (gap.step, None), (None, None)):
                reason = self._why.get(Gap(part, step, layer))
                if reason is not None:
                    return reason
            part = part.rpartition(".")[0]
        return None


def gaps_in(model: type[BaseModel], values: Mapping[str, object]) -> Iterator[Gap]:
    """Every null of a measured field.

    Args:
        model: the class whose fields `values` holds (a Trace need not exist yet to be searched).
        values: field values by name; fields that are missing are not looked at.
    """
    yield from _gaps(model, values, "", None, None)


def measured_fields(model: type[BaseModel]) -> frozenset[str]:
    """Names of the model's own fields whose null needs a reason."""
    return frozenset(name for name, mark in _marks(model).items() if isinstance(mark, Measured))


def child_models(model: type[BaseModel], name: str) -> tuple[type[BaseModel], ...]:
    """Model classes that a field holds, one or many of them."""
    return tuple(_models_in(model.model_fields[name].annotation))


@cache
def _marks(model: type[BaseModel]) -> dict[str, Measured | Axis | None]:
    """Fields worth a look: those with a mark, and those that hold models with marks."""
    marks: dict[str, Measured | Axis | None] = {}
    for name, info in model.model_fields.items():
        mark = next((item for item in info.metadata if isinstance(item, (Measured, Axis))), None)
        if mark is not None or any(_marks(child) for child in child_models(model, name)):
            marks[name] = mark
    return marks


class _Look(NamedTuple):
    """How to see quickly that a model has no gap: its own marked fields, its marked series, its models with marks."""

    own: Callable[[Any], Any] | None
    single: bool
    series: tuple[str, ...]
    below: tuple[str, ...]


@cache
def _look(model: type[BaseModel]) -> _Look:
    marks = _marks(model)
    own = [name for name, mark in marks.items() if isinstance(mark, Measured)]
    series = tuple(name for name, mark in marks.items() if isinstance(mark, Axis))
    below = tuple(name for name in marks if child_models(model, name))
    return _Look(itemgetter(*own) if own else None, len(own) == 1, series, below)


_contents = attrgetter("__dict__")


def _complete(items: Sequence[object]) -> bool:
    """Whether models of one class hold no gap, nor anything below them: looked at column by column, all at once."""
    if not items:
        return True
    model = type(items[0])
    if not issubclass(model, BaseModel) or len(set(map(type, items))) > 1:
        return False  # the walk knows what to do
    look, contents = _look(model), list(map(_contents, items))
    if look.own is not None:
        owned = map(look.own, contents)
        if any(value is None for value in owned) if look.single else any(None in values for values in owned):
            return False
    if any(None in values[name] for name in look.series for values in contents):
        return False
    for name in look.below:
        children = [child for child in map(itemgetter(name), contents) if child is not None]
        many = children and isinstance(children[0], tuple)
        if not _complete(list(chain.from_iterable(children)) if many else children):
            return False
    return True


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _gaps(
    model: type[BaseModel], values: Mapping[str, object], path: str, step: int | None, layer: int | None
) -> Iterator[Gap]:
    for name, mark in _marks(model).items():
        if name not in values:
            continue
        value = values[name]
        part = f"{path}.{name}" if path else name
        if value is None:
            if mark is not None:
                yield Gap(part, step, layer)
        elif isinstance(mark, Axis):
            assert isinstance(value, tuple)
            for index, item in enumerate(value):
                if item is None:
                    yield Gap(part, index if mark.name == "step" else step, index if mark.name == "layer" else layer)
        elif isinstance(value, BaseModel):
            yield from _gaps(type(value), value.__dict__, part, step, layer)
        elif isinstance(value, tuple):
            if _complete(value):
                continue
            for index, item in enumerate(value):
                if isinstance(item, BaseModel):
                    yield from _gaps(type(item), item.__dict__, part, *_place(part, index, item, step, layer))


def _place(
    part: str, index: int, item: BaseModel, step: int | None, layer: int | None
) -> tuple[int | None, int | None]:
    if part == "timeline":
        return index, layer
    if part in ("timeline.layers", "encoder_layers", *ROUTER_LAYERS):
        return step, getattr(item, "layer_index", index)
    if part == "prompt_analysis.layers":
        return step, index
    return step, layer
