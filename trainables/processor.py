"""The machine's cores, memory and number formats, without importing torch."""

import os
from pathlib import Path

import psutil


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process may still allocate on its machine and in its container.

    cgroup: the container's control group (version 2); its page cache counts as free.
    """
    free = psutil.virtual_memory().available
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        rows = [line.split() for line in (cgroup / "memory.stat").read_text().splitlines()]
    except (OSError, ValueError):  # no container, or no limit
        return free
    cached = sum(int(row[1]) for row in rows if row[0] == "inactive_file")
    return max(min(free, limit - used + cached), 0)


def has_bfloat16() -> bool:
    """Return whether the CPU computes in bfloat16 rather than converting only."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx512_bf16" in flags or "amx_bf16" in flags
