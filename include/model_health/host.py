"""What this machine is: processor and memory. Knows no device and loads nothing."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


def cpu_name(cpuinfo: Path = _CPUINFO) -> str:
    """The processor's model name as the kernel gives it, else its architecture (ARM kernels name no model)."""
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return platform.processor() or platform.machine()


def memory_bytes() -> int | None:
    """All of its memory; None where the system does not tell."""
    names = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_gib() -> str:
    """Its memory in words, for a page of figures."""
    found = memory_bytes()
    return "unknown memory" if found is None else f"{found / 2**30:.0f} GiB"
