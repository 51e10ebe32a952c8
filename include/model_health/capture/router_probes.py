"""Turns what routers say into `RouterCall` events: their logits, and the experts that they chose for each token.

Choices come from the router's own output, else from the arguments of the module that holds the experts, which runs
next. Knows which router spoke in which pass; what is made of it is the observer's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from model_health.capture.attention_probes import Guard, Pass
from model_health.capture.events import Observer, RouterCall
from model_health.capture.routers import RouterModule, choices_given, choices_of, logits_of


class RouterProbes:
    """Forward hooks on every router of a model, and on the experts of those that keep their choices to themselves."""

    def __init__(self, observer: Observer, current: Pass, guard: Guard) -> None:
        self._observer, self._pass, self._guard = observer, current, guard
        self._waiting: dict[RouterModule, int] = {}
        """Routers whose choices are still to come in this pass, with their number of experts."""

    def attach(self, routers: tuple[RouterModule, ...], keep: Callable[[RemovableHandle], None]) -> None:
        """Watch these routers; `keep` takes the handles."""
        for router in routers:
            keep(router.module.register_forward_hook(self._guard(self._said(router))))
            if router.experts is not None and router.place.no_choice is None:
                probe = self._guard(self._given(router))
                keep(router.experts.register_forward_pre_hook(probe, with_kwargs=True))

    def _said(self, router: RouterModule) -> Callable[..., None]:
        place = router.place

        def probe(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            batch, tokens = self._pass.shapes[place.stack]
            logits = logits_of(router, output, batch, tokens)
            if isinstance(logits, str):
                self._observer.router_refused(place, logits)
                return
            chosen = choices_of(router, output, batch, tokens, logits.shape[-1])
            if chosen is None:
                self._waiting[router] = logits.shape[-1]
            self._observer.router(RouterCall(place, logits, chosen))

        return probe

    def _given(self, router: RouterModule) -> Callable[..., None]:
        def probe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            experts = self._waiting.pop(router, None)
            if experts is None:
                return
            batch, tokens = self._pass.shapes[router.place.stack]
            chosen = choices_given((*args, *kwargs.values()), batch, tokens, experts)
            if chosen is not None:
                self._observer.router(RouterCall(router.place, None, chosen))

        return probe
