"""The machine and the software that a run was measured on."""

from __future__ import annotations

import multiprocessing
import os
import platform
import re
import socket
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

__all__ = ["describe_environment"]


def describe_environment(start_method: str | None = None) -> dict[str, Any]:
    """Plain values that say where and on what a run happened.

    Contains no environment variables: they hold secrets.

    Args:
        start_method: How the executor starts processes; `None` is Python's default.
    """
    return {
        "hardware": _hardware(),
        "system": _system(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "compiler": platform.python_compiler(),
            "start_method": start_method or multiprocessing.get_start_method(allow_none=False),
        },
        "packages": _packages(),
    }


def _hardware() -> dict[str, Any]:
    return {
        "architecture": platform.machine(),
        "cpu_model": _cpu_model(),
        "logical_cores": os.cpu_count(),
        "usable_cores": _usable_cores(),
        "memory_bytes": _memory_bytes(),
        "memory_limit_bytes": _cgroup_limit("memory.max"),
        "cpu_limit": _cgroup_cpus(),
    }


def _system() -> dict[str, Any]:
    return {
        "hostname": socket.gethostname(),
        "platform": platform.platform(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
    }


def _cpu_model() -> str | None:
    for line in _lines(Path("/proc/cpuinfo")):
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.processor() or None


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    names = os.sysconf_names if hasattr(os, "sysconf_names") else {}
    if "SC_PHYS_PAGES" not in names or "SC_PAGE_SIZE" not in names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _cgroup_limit(name: str) -> int | None:
    # Version 2 only; a container sees its own group at the root.
    text = "".join(_lines(Path("/sys/fs/cgroup") / name)).strip()
    return int(text) if text.isdigit() else None


def _cgroup_cpus() -> float | None:
    fields = "".join(_lines(Path("/sys/fs/cgroup/cpu.max"))).split()
    if len(fields) != 2 or not fields[0].isdigit():
        return None
    return int(fields[0]) / int(fields[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:  # No such file on this system, or in this container.
        return []


def _packages() -> dict[str, str]:
    """Versions of the suite and of all that it declares to need, where installed."""
    found: dict[str, str] = {}
    for name in ["taps", *_requirements("taps")]:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # An extra that is not installed here.
    return dict(sorted(found.items()))


def _requirements(name: str) -> Iterable[str]:
    try:
        requirements = distribution(name).requires or []
    except PackageNotFoundError:
        return []
    return [
        re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements
    ]
