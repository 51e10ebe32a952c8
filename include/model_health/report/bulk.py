"""Makes many rows of one model at once: every column is validated as a whole, then rows are put together from them.

A report holds some three thousand small models; validating each alone costs more than everything else about a report.
What comes out is what `cls(**row)` would give, row by row: the same types, the same refusals.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import repeat
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo

from model_health.report.base import Frozen

Row = TypeVar("Row", bound=Frozen)

# `BaseModel.model_construct` sets these four as well, through `object.__setattr__`, which looks them up each time.
_put_content, _put_given, _put_extra, _put_private = (
    BaseModel.__dict__[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


def build_rows(cls: type[Row], columns: Mapping[str, Sequence[Any]]) -> list[Row]:
    """One instance of `cls` per place of the columns.

    Args:
        cls: a model; one with validators of its own is made row by row.
        columns: values by field name, all of one length; fields that are not named take their default.

    Raises:
        ValidationError: a column holds a value that its field refuses, or a field without a default is not named.
        ValueError: the columns differ in length.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns of {cls.__name__} differ in length: {sorted(lengths)}")
    fields = cls.model_fields
    count = next(iter(lengths), 0)
    unnamed = any(info.is_required() for name, info in fields.items() if name not in columns)
    if unnamed or columns.keys() - fields.keys() or not _is_bare(cls):
        return [cls(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    checked = [
        _adapter(cls, name).validate_python(columns[name]) if name in columns else _defaults(info, count)
        for name, info in fields.items()
    ]
    names, given, new = tuple(fields), set(columns), cls.__new__
    rows = []
    for values in zip(*checked, strict=True):
        row = new(cls)
        _put_content(row, dict(zip(names, values)))  # noqa: B905  # of one length, and the hot spot
        _put_given(row, given)
        _put_extra(row, None)
        _put_private(row, None)
        rows.append(row)
    return rows


def _defaults(info: FieldInfo, count: int) -> Iterable[Any]:
    """A default that a factory makes is made for each row; any other is shared, for no row can change it."""
    if info.default_factory is None:
        return repeat(info.default, count)
    make: Any = info.default_factory
    return [make() for _ in range(count)]


@cache
def _is_bare(cls: type[Frozen]) -> bool:
    """Whether an instance is no more than its fields: nothing else of the class looks at them or adds to them."""
    own = cls.__pydantic_decorators__
    kinds = (own.validators, own.field_validators, own.root_validators, own.model_validators)
    added = any(kinds) or cls.__pydantic_post_init__ or cls.__private_attributes__
    return not added and not any(info.default_factory_takes_validated_data for info in cls.model_fields.values())


@cache
def _adapter(cls: type[Frozen], name: str) -> TypeAdapter[list[Any]]:
    """Validates a column of a field under the rules of the field."""
    info = cls.model_fields[name]
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return TypeAdapter(list[kind], config={"allow_inf_nan": False})
