"""Lifetimes: objects that end with a block, a lease, a task, a job or the program."""

from __future__ import annotations

from proxystore_patterns.lifetimes._base import EvictingLifetime
from proxystore_patterns.lifetimes._context import ContextLifetime
from proxystore_patterns.lifetimes._job import JobLifetime
from proxystore_patterns.lifetimes._leaks import Leak, find_leaks, remove_leaks
from proxystore_patterns.lifetimes._lease import LeaseLifetime
from proxystore_patterns.lifetimes._static import StaticLifetime, register_lifetime_atexit
from proxystore_patterns.lifetimes._task import Task, TaskLifetime

__all__ = [
    "ContextLifetime",
    "EvictingLifetime",
    "JobLifetime",
    "Leak",
    "LeaseLifetime",
    "StaticLifetime",
    "Task",
    "TaskLifetime",
    "find_leaks",
    "register_lifetime_atexit",
    "remove_leaks",
]
