"""From canary prompts to token ids: what exactly the model is asked, checked before anything is generated.

Plain text is tokenized as the tokenizer does by default (with its BOS token, if it adds one); a chat goes through the
model's chat template. Everything that can be wrong with a prompt for *this* model is found here, for each prompt by
name: no tokens, no chat template, tokens beyond the embedding, longer than the context.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from model_health.config.suites import CanaryPrompt, CanarySuite, Generation, Message
from model_health.errors import ModelSourceError, SuiteError
from model_health.runner.loading import LoadedModel, input_rows

TODAY = datetime.date(2024, 7, 26)
"""What a chat template that asks for the date is told: a canary prompt must be the same every night."""


@dataclass(frozen=True)
class TokenizedPrompt:
    """One canary prompt as the model receives it.

    `index` is its place in the suite. `text` is the plain text, or the chat as rendered. `decoder_token_ids` are the
    start token and the tokens of the prompt's `decoder` text, None where the model begins by itself.
    """

    index: int
    prompt: CanaryPrompt
    generation: Generation
    text: str
    token_ids: tuple[int, ...]
    decoder_token_ids: tuple[int, ...] | None = None

    @property
    def prompt_id(self) -> str:
        """The prompt's id in its suite."""
        return self.prompt.id


@dataclass(frozen=True)
class ContextLimit:
    """How many tokens a model's positions can tell apart; None where there is no such limit.

    A causal model holds prompt and generated tokens in `decoder` together; an encoder-decoder model holds the prompt in
    `encoder` and the generated tokens in `decoder`.
    """

    encoder: int | None
    decoder: int | None


def tokenize(suite: CanarySuite, loaded: LoadedModel) -> list[TokenizedPrompt]:
    """Tokenize every prompt of a suite for a model, in the suite's order.

    Raises:
        SuiteError: a prompt cannot be put to this model; it is named.
        ModelSourceError: the tokenizer and the model do not belong together.
    """
    limit, rows = context_limit(loaded.model.config), input_rows(loaded.model)
    result = []
    for index, prompt in enumerate(suite.prompts):
        subject = f"prompt {prompt.id!r} of suite {suite.name!r}"
        text, token_ids = _encode(prompt, loaded.tokenizer, subject)
        start = _decoder_start(prompt, loaded, subject)
        if not token_ids:
            raise SuiteError("has no tokens for this model's tokenizer", subject=subject, hint="give it some text")
        highest = max((*token_ids, *(start or ())))
        if highest >= rows:
            raise ModelSourceError(
                f"the tokenizer yields token {highest}, but the model embeds {rows} tokens ({subject})",
                subject=loaded.tokenizer_source.label,
                hint="this tokenizer belongs to another model",
            )
        generation = suite.generation(prompt)
        _check_length(len(token_ids), len(start or (0,)), generation.max_new_tokens, limit, loaded, subject)
        result.append(TokenizedPrompt(index, prompt, generation, text, token_ids, start))
    return result


def context_limit(config: PreTrainedConfig) -> ContextLimit:
    """The limits that a model's config states.

    Relative positions (T5), ALiBi (Bloom, MPT, some Falcons) and state-space models have none: what their configs
    call a sequence length is how they were trained. A sliding window is no limit either.
    """
    text = config.get_text_config()
    alibi = getattr(text, "alibi", False) or getattr(getattr(text, "attn_config", None), "alibi", False)
    if alibi or hasattr(text, "relative_attention_num_buckets"):
        return ContextLimit(None, None)
    both = _first(text, "max_position_embeddings", "n_positions", "max_seq_len")
    encoder = _first(text, "max_encoder_position_embeddings") or both
    decoder = _first(text, "max_decoder_position_embeddings", "max_target_positions") or both
    return ContextLimit(encoder if config.is_encoder_decoder else None, decoder)


def _first(config: PreTrainedConfig, *names: str) -> int | None:
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def _encode(prompt: CanaryPrompt, tokenizer: PreTrainedTokenizerBase, subject: str) -> tuple[str, tuple[int, ...]]:
    chat = prompt.chat
    text = prompt.text or "" if chat is None else render_chat(chat, tokenizer, subject)
    return text, text_ids(tokenizer, text, special=chat is None)  # a chat template writes its own special tokens


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool) -> tuple[int, ...]:
    """The token ids of plain text, with the special tokens that the tokenizer adds by default or without any."""
    encoded: Any = tokenizer(text, add_special_tokens=special, truncation=False, padding=False, verbose=False)
    return tuple(int(token) for token in encoded["input_ids"])


def render_chat(chat: tuple[Message, ...], tokenizer: PreTrainedTokenizerBase, subject: str) -> str:
    """A chat as the model's template writes it, up to where the assistant begins to speak.

    Raises:
        SuiteError: the tokenizer has no chat template, or its template refuses this chat.
    """
    if tokenizer.chat_template is None:
        raise SuiteError(
            "is a chat, but this model's tokenizer has no chat template",
            subject=subject,
            hint="use text for this model",
        )
    messages = [message.model_dump() for message in chat]
    try:
        template = tokenizer.get_chat_template()
        rendered = tokenizer.apply_chat_template(
            messages, chat_template=_dated(template), add_generation_prompt=True, tokenize=False
        )
    except (TemplateError, ValueError, TypeError) as error:
        raise SuiteError(f"the model's chat template refuses it: {error}", subject=subject) from error
    return str(rendered)


def _dated(template: str) -> str:
    """The template with its clock stopped at `TODAY`: a macro of that name hides the function that reads the clock."""
    if "strftime_now" not in template:
        return template
    filters = "".join(f"|replace('%-{code}', '{_plain(code)}')" for code in "dm")
    filters += "".join(f"|replace('%{code}', '{TODAY.strftime('%' + code)}')" for code in "aAbBdmyYjHIMSpZ")
    return f"{{%- macro strftime_now(format) -%}}{{{{ format{filters} }}}}{{%- endmacro -%}}{template}"


def _plain(code: str) -> str:
    return TODAY.strftime(f"%{code}").lstrip("0")


def _decoder_start(prompt: CanaryPrompt, loaded: LoadedModel, subject: str) -> tuple[int, ...] | None:
    if prompt.decoder is None:
        return None
    if not loaded.encoder_decoder:
        raise SuiteError("has a decoder text, but the model has no encoder", subject=subject, hint="remove decoder")
    settings = loaded.model.generation_config
    start = settings.decoder_start_token_id if settings.decoder_start_token_id is not None else settings.bos_token_id
    if start is None:
        raise SuiteError("has a decoder text, but the model states no start token for it", subject=subject)
    return (int(start), *text_ids(loaded.tokenizer, prompt.decoder, special=False))


def _check_length(prompt: int, start: int, new: int, limit: ContextLimit, loaded: LoadedModel, subject: str) -> None:
    hint = "shorten it or its max_new_tokens"
    if not loaded.encoder_decoder:
        if limit.decoder is not None and prompt + new > limit.decoder:
            raise SuiteError(
                f"{prompt} prompt tokens and {new} new ones exceed the context of {limit.decoder}",
                subject=subject,
                hint=hint,
            )
        return
    if limit.encoder is not None and prompt > limit.encoder:
        raise SuiteError(f"{prompt} tokens exceed the encoder's {limit.encoder}", subject=subject, hint="shorten it")
    if limit.decoder is not None and start + new > limit.decoder:
        raise SuiteError(f"{start} + {new} tokens exceed the decoder's {limit.decoder}", subject=subject, hint=hint)
