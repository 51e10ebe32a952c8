"""Attaches the probes around one `generate` call and takes them off again, whatever happens.

`Capture(model, observer)` is a context manager: inside it call `model.generate(...)` once, exactly as without it. The
probes are forward hooks on the model, its stacks and its layers, and listeners on the attention backend. On exit, also
after an exception, the model is as it was: no hook, its own `generate`, the same backend, mode and random state.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from time import perf_counter
from types import TracebackType
from typing import Any, ParamSpec, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from model_health.capture.attention_probes import AttentionProbes, Pass
from model_health.capture.compiled import runs_eagerly, without_compiler
from model_health.capture.events import GenerationStart, Observer, RouterGap, StackName
from model_health.capture.head import HeadReplay
from model_health.capture.layout import ModelLayout, StackLayout, find_layout
from model_health.capture.router_probes import RouterProbes
from model_health.capture.routers import find_routers
from model_health.capture.states import block_state
from model_health.capture.supported import check_generation, eos_tokens, prompt_of, token_limit
from model_health.capture.switched_hooks import SwitchedHooks
from model_health.config.layers import LAYER_LEFT_OUT
from model_health.errors import CaptureError, ModelHealthError

P = ParamSpec("P")


class Capture:
    """Probes on one model for one `generate` call.

    Args:
        model: a causal or encoder-decoder language model, in evaluation mode.
        observer: receives the events; what it does not want is not probed.

    Raises:
        ConfigError: the observer wants layers that the model does not have.

    Raises (inside the context):
        UnsupportedGeneration: before any forward pass, if the probes cannot follow this way to generate.
        CaptureError: a probe failed; the cause is chained.
    """

    def __init__(self, model: PreTrainedModel, observer: Observer) -> None:
        model = without_compiler(model)
        self.model = model
        self.observer = observer
        self.layout: ModelLayout = find_layout(model)
        self.probe_seconds = 0.0
        self._undo: list[Callable[[], None]] = []
        self._generating = False
        self._begun = False
        self._finished = False
        self._replaying = False
        self._pass = Pass()
        self._latest: dict[StackName, tuple[int, torch.Tensor]] = {}
        """The newest block output of each stack in this pass, and the block's number."""
        self._refused: set[StackName] = set()
        self._every = observer.wants.every
        self._layer_hooks = SwitchedHooks()
        self._chosen = self._choose()
        both = bool(model.config.is_encoder_decoder)
        watches_head = observer.wants.prompt_logits and not both and self.layout.head is not None
        self._head = HeadReplay(self.layout.head) if watches_head and self.layout.head else None
        self._attention = AttentionProbes(observer, self._pass, self._layer_guard)
        routers, gaps = find_routers(model, self.layout) if observer.wants.router else ((), ())
        places = [(one.place.stack, one.place.layer) for one in routers]
        self._routers = tuple(
            one for one, (stack, layer) in zip(routers, places, strict=True) if layer in self._chosen[stack]
        )
        left_out = (place for place in dict.fromkeys(places) if place[1] not in self._chosen[place[0]])
        self._router_gaps = gaps + tuple(RouterGap(LAYER_LEFT_OUT, *place) for place in left_out)

    def _choose(self) -> dict[StackName, tuple[int, ...]]:
        """The layers to look at, of each stack."""
        paths = {id(module): path for path, module in self.model.named_modules()}
        stacks = {StackName.DECODER: self.layout.decoder}
        if self.layout.encoder is not None:
            stacks[StackName.ENCODER] = self.layout.encoder
        names = [[paths.get(id(layer), "") for layer in stack.layers] for stack in stacks.values()]
        return dict(zip(stacks, self.observer.wants.layers.pick(names, type(self.model).__name__), strict=True))

    def __enter__(self) -> Self:
        try:
            self._attach()
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._detach()
        if kind is None and not self._finished:
            raise CaptureError(
                "no generate call was seen",
                subject=type(self.model).__name__,
                hint="call model.generate in the context",
            )

    # -- attaching and detaching

    def _detach(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _keep(self, handle: RemovableHandle) -> None:
        self._undo.append(handle.remove)

    def _attach(self) -> None:
        self._wrap_generate()
        self._keep(self.model.register_forward_pre_hook(self._guard(self._before_forward), with_kwargs=True))
        self._keep(self.model.register_forward_hook(self._guard(self._after_forward)))
        if self._head is not None:
            self._head.attach(self._keep)
            self._undo.append(self._head.forget)
        self._undo.append(self._layer_hooks.remove)
        self._attach_stack(StackName.DECODER, self.layout.decoder)
        if self.layout.encoder is not None:
            self._attach_stack(StackName.ENCODER, self.layout.encoder)
        self._layer_hooks.switch(on=True)
        RouterProbes(self.observer, self._pass, self._layer_guard).attach(self._routers, self._keep)

    def _attach_stack(self, name: StackName, stack: StackLayout) -> None:
        self._keep(stack.module.register_forward_hook(self._guard(self._final_probe(name, stack))))
        if self.observer.wants.hidden:
            for index in self._chosen[name]:
                self._layer_hooks.add(stack.layers[index], self._guard(self._layer_probe(name, index, stack)))
        if self.observer.wants.attention:
            self._attention.attach(name, stack, self._chosen[name], self._undo.append)

    def _wrap_generate(self) -> None:
        """Shadow `model.generate` on the instance, to see its arguments before and its result after."""
        namespace = self.model.__dict__
        own = namespace.get("generate")
        original: Callable[..., Any] = self.model.generate  # type: ignore[assignment]

        @wraps(original)
        def generate(*args: Any, **kwargs: Any) -> Any:
            bound = inspect.signature(original).bind(*args, **kwargs)
            named = {**bound.arguments, **bound.arguments.get("kwargs", {})}
            named.pop("kwargs", None)
            self._begin(named)
            try:
                # On a GPU, transformers compiles the decode step of a static cache by itself. Probes are Python with a
                # state: compiled, they would be traced once, or compiled again for every step.
                with runs_eagerly(self.model):
                    result = original(*args, **{**kwargs, "disable_compile": True})
            finally:
                self._generating = self._pass.idle = False
                self._latest.clear()
                self._pass.cache = None
            self._end(result)
            return result

        namespace["generate"] = generate

        def restore() -> None:
            if own is None:
                namespace.pop("generate", None)
            else:
                namespace["generate"] = own

        self._undo.append(restore)

    def _guard(self, probe: Callable[P, None]) -> Callable[P, None]:
        """Time a probe, silence it outside the watched call, and turn its failure into a CaptureError."""

        def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
            if not self._generating or self._replaying:
                return
            started = perf_counter()
            try:
                probe(*args, **kwargs)
            except ModelHealthError:
                raise
            except Exception as error:
                raise CaptureError(
                    f"a probe failed at step {max(self._pass.step, 0)}: {type(error).__name__}: {error}",
                    subject=type(self.model).__name__,
                ) from error
            finally:
                self.probe_seconds += perf_counter() - started

        return guarded

    def _layer_guard(self, probe: Callable[P, None]) -> Callable[P, None]:
        """A guard that is silent, before anything else, at decode steps at which layers are not looked at."""
        guarded = self._guard(probe)
        if self._every == 1:
            return guarded
        current = self._pass

        def sometimes(*args: P.args, **kwargs: P.kwargs) -> None:
            if not current.idle:
                guarded(*args, **kwargs)

        return sometimes

    # -- the watched call

    def _begin(self, arguments: dict[str, Any]) -> None:
        if self._begun:  # also after a call that failed half-way: its steps are recorded
            raise CaptureError("one capture watches one generate call", subject=type(self.model).__name__)
        check_generation(self.model, arguments)
        ids, real = prompt_of(self.model, arguments)
        self._begun = self._generating = True
        device = next(self.model.get_input_embeddings().parameters()).device
        if device.type == "meta":  # offloaded weights: accelerate moves the inputs to where they will be
            device = torch.device(
                getattr(getattr(self.model, "_hf_hook", None), "execution_device", None) or ids.device
            )
        try:
            self.observer.generation_started(
                GenerationStart(
                    layout=self.layout,
                    prompt_ids=ids.to(device),
                    prompt_mask=real.to(device),
                    eos_token_ids=eos_tokens(self.model, arguments),
                    max_new_tokens=token_limit(self.model, arguments, ids.shape[1]),
                    is_encoder_decoder=bool(self.model.config.is_encoder_decoder),
                    routers=tuple(router.place for router in self._routers),
                    router_gaps=self._router_gaps,
                    chosen=self._chosen,
                )
            )
            self._pass.shapes[StackName.ENCODER] = (ids.shape[0], ids.shape[1])
            self._pass.prompt_tokens = ids.shape[1]
        except BaseException:
            self._generating = False
            raise

    def _end(self, result: Any) -> None:
        sequences = result if isinstance(result, torch.Tensor) else result.sequences
        self.observer.generation_ended(sequences, result)
        self._finished = True

    # -- the probes

    def _before_forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        name = "decoder_input_ids" if self.model.config.is_encoder_decoder else "input_ids"
        ids = kwargs.get(name)
        if ids is None and args and name == "input_ids":
            ids = args[0]
        if ids is None:
            raise CaptureError(f"a forward pass came without {name}", subject=type(self.model).__name__)
        self._pass.step += 1
        self._pass.idle = self._pass.step % self._every != 0
        self._layer_hooks.switch(on=not self._pass.idle)
        self._pass.cache = kwargs.get("past_key_values")
        # a causal prefill reads the prompt: some models add a token of their own, which then has no mask and no name
        first = self._pass.step == 0 and not self.model.config.is_encoder_decoder
        self._pass.shapes[StackName.DECODER] = (ids.shape[0], self._pass.prompt_tokens if first else ids.shape[1])
        if self._head is not None and self._pass.step == 0:
            self._head.listen()
        self.observer.forward_started(self._pass.step, ids)

    def _after_forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        step = self._pass.step
        logits = output.logits if hasattr(output, "logits") else output[0]
        if self._head is not None and step == 0:
            if self._head.positions == self._pass.shapes[StackName.DECODER][1]:
                self._replaying = True
                try:
                    self.observer.prompt_head(self._head.apply)
                finally:
                    self._replaying = False
            self._head.forget()
        self.observer.logits(step, logits[:, -1])
        self.observer.forward_ended(step)

    def _final_probe(self, stack: StackName, layout: StackLayout) -> Callable[..., None]:
        reads_blocks = self.observer.wants.hidden

        def probe(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if reads_blocks and not self._pass.idle:
                count = len(layout.layers)
                if stack in self._latest or (len(self._chosen[stack]) < count and stack not in self._refused):
                    self._skipped(stack, count)
                self._latest.pop(stack, None)
            state = output[0] if isinstance(output, tuple) else output.last_hidden_state
            if not isinstance(state, torch.Tensor) or state.dim() != 3:
                raise CaptureError("the final state is not [batch, tokens, width]", subject=type(module).__name__)
            self.observer.final_state(stack, state)

        return probe

    def _layer_probe(self, stack: StackName, layer: int, layout: StackLayout) -> Callable[..., None]:
        def probe(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            state = block_state(output, layout, *self._pass.shapes[stack])
            latest = self._latest.get(stack)
            before = -1 if latest is None else latest[0]
            if isinstance(state, str):
                self._refuse(stack, state)
            elif before >= layer:
                self._refuse(stack, "its blocks run more than once in a pass")
            elif self._skipped(stack, layer):
                self._latest[stack] = (layer, state)
                self.observer.hidden_state(stack, layer, state)

        return probe

    def _refuse(self, stack: StackName, reason: str) -> None:
        self._refused.add(stack)
        self.observer.hidden_refused(stack, reason)

    def _skipped(self, stack: StackName, next_layer: int) -> bool:
        """Report the chosen blocks before `next_layer` that did not run; False if what they passed on is unknown.

        Blocks that a model leaves out (cross attention without an image) pass their input on as it is: it is known
        where the block before them was seen.
        """
        chosen, latest = self._chosen[stack], self._latest.get(stack)
        missing = [layer for layer in chosen if (-1 if latest is None else latest[0]) < layer < next_layer]
        if not missing:
            return True
        if latest is None or missing[0] != latest[0] + 1 or missing[-1] - missing[0] != len(missing) - 1:
            reason = "its first block did not run" if missing[0] == 0 else f"its block {missing[0]} did not run"
            self._refuse(stack, reason)
            return False
        for layer in missing:
            self.observer.hidden_state(stack, layer, latest[1])
        return True
