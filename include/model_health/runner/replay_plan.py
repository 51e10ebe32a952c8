"""From a suite and accepted continuations to the items of a replay, for one model's tokenizer.

Owns what is scored: of a prompt the continuation that the accepted model wrote and the golden one, of a golden passage
everything after its first token. For an encoder-decoder model, which predicts no prompt, a passage is cut in the
middle: the encoder reads the first half, the second is scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model_health.baseline.observations import PASSAGES, Kind, ReplayObservation
from model_health.config.suites import CanarySuite
from model_health.errors import ModelSourceError, SuiteError
from model_health.replay.plan import ReplayItem
from model_health.runner.loading import LoadedModel, input_rows
from model_health.runner.prompts import TokenizedPrompt, context_limit, text_ids, tokenize


def plan_replay(
    suite: CanarySuite, loaded: LoadedModel, continuations: Mapping[str, Sequence[int]]
) -> tuple[ReplayItem, ...]:
    """The items of a suite: prompts in its order, each continuation before its golden text, then passages.

    Args:
        suite: what is asked.
        loaded: whose tokenizer and context count.
        continuations: token ids that the accepted model generated, by prompt id. A prompt that is left out or that
            generated nothing has no continuation to replay.

    Raises:
        SuiteError: a text cannot be put to this model; it is named.
        ModelSourceError: the tokenizer and the model do not belong together.
    """
    items: list[ReplayItem] = []
    for prompt in tokenize(suite, loaded):
        written = tuple(int(token) for token in continuations.get(prompt.prompt_id, ()))
        if written:
            items.append(_item(prompt, loaded, "continuation", written))
        if prompt.prompt.golden is not None:
            tokens = text_ids(loaded.tokenizer, prompt.prompt.golden, special=False)
            items.append(_item(prompt, loaded, "golden", tokens))
    items += [
        _passage(passage.id, text_ids(loaded.tokenizer, passage.text, special=True), loaded)
        for passage in suite.golden_passages
    ]
    _check(items, suite, loaded)
    return tuple(items)


def plan_again(accepted: ReplayObservation) -> tuple[ReplayItem, ...]:
    """The items of a baseline, to be replayed again: the same tokens, and its most likely tokens to look up."""
    return tuple(
        ReplayItem(
            item_id=item.item_id,
            prompt_id=item.prompt_id,
            kind=item.kind,
            group=item.group,
            context_ids=tuple(item.context_ids.tolist()),
            token_ids=tuple(item.token_ids.tolist()),
            decoder_start=tuple(item.decoder_start.tolist()),
            reference_ids=item.top_ids,
        )
        for item in accepted.items
    )


def _item(prompt: TokenizedPrompt, loaded: LoadedModel, kind: Kind, tokens: tuple[int, ...]) -> ReplayItem:
    if not tokens:
        raise SuiteError("its golden text has no tokens for this model's tokenizer", subject=_subject(prompt.prompt_id))
    return ReplayItem(
        item_id=f"{prompt.prompt_id}:{kind}",
        prompt_id=prompt.prompt_id,
        kind=kind,
        group=prompt.prompt.group,
        context_ids=prompt.token_ids,
        token_ids=tokens,
        decoder_start=(prompt.decoder_token_ids or _start(loaded, prompt.prompt_id)) if loaded.encoder_decoder else (),
    )


def _passage(name: str, tokens: tuple[int, ...], loaded: LoadedModel) -> ReplayItem:
    cut = len(tokens) // 2 if loaded.encoder_decoder else 1
    if len(tokens) <= cut or cut == 0:
        raise SuiteError(
            "has too few tokens to score any", subject=f"golden passage {name!r}", hint="give it more text"
        )
    return ReplayItem(
        item_id=f"{name}:passage",
        prompt_id=f"passage:{name}",
        kind="golden",
        group=PASSAGES,
        context_ids=tokens[:cut],
        token_ids=tokens[cut:],
        decoder_start=_start(loaded, name) if loaded.encoder_decoder else (),
    )


def _start(loaded: LoadedModel, name: str) -> tuple[int, ...]:
    settings = loaded.model.generation_config
    start = settings.decoder_start_token_id if settings.decoder_start_token_id is not None else settings.bos_token_id
    if start is None:
        raise SuiteError("the model states no start token for its decoder", subject=_subject(name))
    return (int(start),)


def _check(items: Sequence[ReplayItem], suite: CanarySuite, loaded: LoadedModel) -> None:
    if not items:
        raise SuiteError("has nothing to replay: no continuation and no golden text", subject=f"suite {suite.name!r}")
    limit, rows = context_limit(loaded.model.config), input_rows(loaded.model)
    for item in items:
        highest = max((*item.context_ids, *item.token_ids))
        if highest >= rows:
            raise ModelSourceError(
                f"the tokenizer yields token {highest}, but the model embeds {rows} tokens ({item.item_id})",
                subject=loaded.tokenizer_source.label,
                hint="this tokenizer belongs to another model",
            )
        sizes = (len(item.fed), limit.decoder), (len(item.context_ids), limit.encoder)
        for found, most in sizes:
            if most is None or found <= most:
                continue
            raise SuiteError(
                f"{found} tokens exceed the context of {most}",
                subject=f"{item.item_id} of suite {suite.name!r}",
                hint="shorten the text",
            )


def _subject(name: str) -> str:
    return f"prompt {name!r}"
