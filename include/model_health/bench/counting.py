"""Counts what reaches torch's dispatcher: operations, waits for the device, copies to the host.

A count does not depend on the machine, as a time does. On a GPU each operation counted is a kernel to launch, and each
wait a stop of the loop. Most waits show on a CPU too: they are operations of their own, or methods that only the host
can have called.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# fmt: off
_LAUNCHES_NOTHING = frozenset([
    "_reshape_alias", "_unsafe_view", "alias", "as_strided", "detach", "diagonal", "empty", "empty_like",
    "empty_strided", "expand", "expand_as", "is_same_size", "lift_fresh", "narrow", "new_empty", "permute",
    "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind",
    "unsqueeze", "view", "view_as",
])
# fmt: on
"""Operations that look at memory, or reserve it."""
_WAITS = frozenset(["_local_scalar_dense", "item", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim"])
"""Operations after which the host knows a number of the device: it has to wait for it."""
_TO_HOST = frozenset([torch.Tensor.cpu, torch.Tensor.tolist])
"""`numpy` is none of them: what is on a device has to be brought over first, and that counts."""


class Counts(TorchDispatchMode):
    """While active: `kernels` and `waits` by name of the operation, `uploads` of host numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.uploads = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and run the operation."""
        name = func._schema.name.split("::")[1]
        if name in _WAITS:
            self.waits[name] += 1
        elif name not in _LAUNCHES_NOTHING:
            self.kernels[name] += 1
        self.uploads += name == "lift_fresh"
        return func(*args, **(kwargs or {}))


class HostCopies(TorchFunctionMode):
    """While active: how often a tensor was asked for its numbers by name (`cpu`, `tolist`, `to("cpu")`).

    On a CPU these copy nothing and reach no dispatcher, but on a GPU each of them waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.copies: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count, and run the function."""
        kwargs = kwargs or {}
        if func in _TO_HOST:
            self.copies[func.__name__] += 1
        elif func is torch.Tensor.to and _names_the_host([*args[1:], *kwargs.values()]):
            self.copies["to"] += 1
        return func(*args, **kwargs)


def _names_the_host(values: list[Any]) -> bool:
    return any(value == "cpu" for value in values if isinstance(value, str))


class Tally:
    """Both counters at once; `mark()` gives what was counted since the last mark."""

    def __init__(self) -> None:
        self._counts, self._copies = Counts(), HostCopies()
        self._before = (0, 0, 0)

    def __enter__(self) -> Self:
        self._copies.__enter__()
        self._counts.__enter__()
        return self

    def __exit__(self, *ended: Any) -> None:
        self._counts.__exit__(*ended)
        self._copies.__exit__(*ended)

    def mark(self) -> tuple[int, int, int]:
        """Since the last mark: kernels, waits for the device, and host numbers that were sent to it."""
        counts = self._counts
        now = (counts.kernels.total(), counts.waits.total() + self._copies.copies.total(), counts.uploads)
        since = (now[0] - self._before[0], now[1] - self._before[1], now[2] - self._before[2])
        self._before = now
        return since
