"""What this machine is, for results that have to say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_health.host import cpu_name, memory_bytes, memory_gib


def test_the_processor_name_is_the_kernels_or_the_architecture(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: Fast  CPU @ 2 GHz\nmodel name\t: other\n")
    assert cpu_name(file) == "Fast CPU @ 2 GHz"
    file.write_text("processor\t: 0\nBogoMIPS\t: 50.00\n")
    assert cpu_name(file) == cpu_name(tmp_path / "absent") != ""


def test_memory_that_the_system_does_not_tell_is_unknown_and_not_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (memory_bytes() or 0) > 2**20
    monkeypatch.setattr("model_health.host.os.sysconf_names", {})
    assert memory_bytes() is None
    assert memory_gib() == "unknown memory"
