"""What the machine has for this process, without importing torch."""

import os
from pathlib import Path

import psutil


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: of the machine, and of its container if it has one.

    group: the container's control group (version 2); its page cache can be taken back.
    """
    free = psutil.virtual_memory().available
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        rows = [line.split() for line in (group / "memory.stat").read_text().splitlines()]
    except (OSError, ValueError):  # no container, or one without a limit
        return free
    cached = sum(int(row[1]) for row in rows if row[0] == "inactive_file")
    return max(min(free, limit - used + cached), 0)


def has_bfloat16() -> bool:
    """Whether it computes in bfloat16, not only converts."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
