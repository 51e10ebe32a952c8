"""What was made up says so by name."""

from __future__ import annotations

from model_health.report.synthetic import NOTICE, PREFIX, WARNING, is_synthetic


def test_a_made_up_model_is_known_by_its_name_and_a_real_one_is_not() -> None:
    assert is_synthetic(f"{PREFIX}atlas-7b")
    assert not is_synthetic("smollm2-135m")
    assert not is_synthetic("a-synthetic-tune")
    assert WARNING.message == NOTICE
