"""One model's configuration: defaults, and combinations that cannot work."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model_health.config.models import ModelConfig

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB = {"hub": "a/b"}
PINNED = {"hub": "a/b", "revision": COMMIT}


def model(**keys: object) -> ModelConfig:
    return ModelConfig.model_validate({"name": "m", "source": HUB, **keys})


def test_a_name_and_a_source_are_enough() -> None:
    config = ModelConfig.model_validate({"name": "m", "source": {"path": "w"}})
    assert config.suites == ("core",)
    assert config.batch_size == 16
    assert config.enabled
    assert not config.trust_remote_code
    assert config.revision is None
    assert config.measure.preset == "standard"


def test_a_model_is_frozen_and_survives_json() -> None:
    config = model(device="cuda:1", tags=["tier:gold"], measure={"preset": "full", "topk": 3})
    with pytest.raises(ValidationError):
        config.name = "other"  # type: ignore[misc]
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config
    assert hash(config) == hash(config.model_copy())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": {"hub": "a/b", "path": "c"}}, "exactly one source"),
        ({"device": "gpu"}, "device"),
        ({"device": "cuda:x"}, "device"),
        ({"dtype": "float64"}, "dtype"),
        ({"quantization": "int8", "device": "cpu"}, "quantization int8 needs CUDA"),
        ({"quantization": "int4", "source": {"gguf": "x.gguf"}}, "cannot be applied to a GGUF source"),
        ({"attention_backend": "flash_attention_2", "device": "cpu"}, "needs CUDA"),
        ({"attention_backend": "flash_attention_3", "dtype": "float32"}, "needs float16 or bfloat16"),
        ({"production": True}, "production is true, but source.revision is not a full commit"),
        ({"production": True, "source": PINNED, "tokenizer": HUB}, "tokenizer.revision is not a full commit"),
        ({"trust_remote_code": True}, "trust_remote_code is true, but source.revision"),
        ({"allow_pickled_weights": True}, "allow_pickled_weights is for a local folder"),
        ({"allow_pickled_weights": True, "source": {"gguf": "x.gguf"}}, "allow_pickled_weights is for a local folder"),
        (
            {"allow_pickled_weights": True, "source": {"path": "x"}, "production": True},
            "production is true, but allow_pickled_weights is true: convert the weights",
        ),
        ({"suites": []}, "suites"),
        ({"suites": ["core", "core"]}, "'core' is given twice"),
        ({"suites": "core"}, "suites"),
        ({"tags": ["a:1", "a:2"]}, "'a' is given twice"),
        ({"tags": ["no-colon"]}, "tags"),
        ({"tags": [f"k{n}:v" for n in range(11)]}, "tags"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "16"}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"trust_remote_code": "yes"}, "trust_remote_code"),
        ({"batchsize": 1}, "batchsize"),
        ({"name": "Not A Slug"}, "name"),
    ],
)
def test_what_cannot_work_is_refused(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**keys)
    assert message in str(caught.value)


def test_pickled_weights_are_off_unless_a_local_model_asks_for_them() -> None:
    assert not model().allow_pickled_weights
    assert model(source={"path": "weights/x"}, allow_pickled_weights=True).allow_pickled_weights


def test_pinned_sources_may_be_production_and_run_their_own_code() -> None:
    config = model(source=PINNED, tokenizer=PINNED, production=True, trust_remote_code=True)
    assert config.revision == COMMIT


@pytest.mark.parametrize(
    ("keys", "wants"),
    [({}, False), ({"device": "cpu"}, False), ({"device": "cuda"}, True), ({"device": "cuda:3"}, True),
     ({"quantization": "int8"}, True)],
)  # fmt: skip
def test_a_model_that_asks_for_cuda_says_so(keys: dict[str, str], wants: bool) -> None:
    assert model(**keys).wants_cuda is wants


def test_tags_and_owner_become_labels() -> None:
    assert model(tags=["tier:gold", "use:chat"], owner="ml").labels() == {"tier": "gold", "use": "chat", "owner": "ml"}
    assert model().labels() == {}
