"""Every error that `taps` raises on purpose.

All derive from `TapsError`, which is a `ProxyStoreError`: each takes facts,
builds its message from them, and survives pickling.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxystore.errors import ProxyStoreError, did_you_mean

__all__ = [
    "DependencyError",
    "EngineClosedError",
    "PluginLoadError",
    "RunError",
    "TapsError",
    "TaskError",
    "TaskSerializationError",
    "UnknownPluginError",
    "UsageError",
    "WorkerDiedError",
]


class TapsError(ProxyStoreError):
    """Root of all errors of the suite."""


class TaskError(TapsError, RuntimeError):
    """A task raised something that cannot travel: an exit, or what cannot be pickled.

    Args:
        task: The task, as `TaskInfo.label` gives it.
        type_name: Name of the exception's class.
        message: Its text.
    """

    def __init__(self, task: str, type_name: str, message: str) -> None:
        self.task, self.type_name, self.message = task, type_name, message
        super().__init__(
            f"Task {task} raised {type_name}: {message}. That exception cannot travel from "
            f"where the task ran; its traceback is in the task records."
        )


class DependencyError(TapsError, RuntimeError):
    """A task was not run because a task it depends on failed; that error is the cause."""

    def __init__(self, task: str, parent: str) -> None:
        self.task, self.parent = task, parent
        super().__init__(
            f"Task {task} was not run, because it needs, directly or through others, the result "
            f"of task {parent}, which failed. That task's error is the cause of this one."
        )


class WorkerDiedError(TapsError, RuntimeError):
    """A worker process ended while tasks were queued or running, and took them along."""

    def __init__(self, task: str, reason: str) -> None:
        self.task, self.reason = task, reason
        super().__init__(
            f"Task {task} was lost: a worker process died while the task was queued or running "
            f"({reason}). It was killed, ran out of memory or called os._exit; the executor "
            f"takes no more tasks. Look in the kernel log for the out-of-memory killer, or run "
            f"with --executor serial to see which task it is."
        )


class TaskSerializationError(TapsError, TypeError):
    """The arguments or the result of a task cannot travel to or from a worker process."""

    def __init__(self, task: str, what: str, reason: str) -> None:
        self.task, self.what, self.reason = task, what, reason
        super().__init__(
            f"The {what} of task {task} cannot be sent between processes ({reason}). Use "
            f"functions at the top level of an importable module and picklable values, or an "
            f"executor that shares memory (--executor thread-pool)."
        )


class EngineClosedError(TapsError, RuntimeError):
    """A task was submitted after `Engine.shutdown`."""

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(
            f"Task {task!r} was submitted to an engine that is shut down. Submit inside the "
            f"engine's with block, or make a new Engine."
        )


class RunError(TapsError):
    """A run could not be prepared, or its directory cannot be used.

    Args:
        asked: What was to be done, a noun phrase.
        found: What stood in the way, a clause.
        advice: What to do next, a full sentence.
    """

    def __init__(self, asked: str, found: str, advice: str) -> None:
        self.asked, self.found, self.advice = asked, found, advice
        super().__init__(f"Cannot use {asked}: {found}. {advice}")


class UsageError(TapsError, ValueError):
    """The command line or a configuration file asks for something that does not exist or fit.

    Args:
        problems: One full sentence each.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnknownPluginError(UsageError):
    """No installed distribution provides a plugin of this name."""

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        found = ", ".join(self.known) or "none: install taps, rather than use its source folder"
        problem = f"There is no {kind} named {name!r}.{did_you_mean(name, self.known)}"
        super().__init__([f"{problem} Installed: {found}."])


class PluginLoadError(TapsError, ImportError):
    """A plugin is installed, but something it needs is not."""

    def __init__(self, kind: str, plugin: str, reason: str, advice: str) -> None:
        self.kind, self.plugin, self.reason, self.advice = kind, plugin, reason, advice
        super().__init__(f"The {kind} {plugin!r} cannot be used here: {reason}. {advice}")
