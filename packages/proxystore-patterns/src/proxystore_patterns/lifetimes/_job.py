"""`JobLifetime`: as long as a Slurm job."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from proxystore.abc import Capability, Key
from proxystore.errors import ProxyStoreError
from proxystore.store import Store
from proxystore_patterns._options import checked_seconds
from proxystore_patterns.errors import JobNotFoundError
from proxystore_patterns.lifetimes._base import EvictingLifetime
from proxystore_patterns.lifetimes._clock import CLOCK
from proxystore_patterns.lifetimes._slurm import current_job, job_status

__all__ = ["JobLifetime"]

# Slurm gives processes some time between the end of a job and their own.
_GRACE_SECONDS = 60.0


class JobLifetime(EvictingLifetime):
    """Ends when a Slurm job does, whether or not this process still runs then.

    Slurm is asked (``squeue``) now and then while this process runs. Where the medium has
    times to live (`Leasable`) objects also end by themselves when the job's time limit is
    over. What a job that was over before its limit leaves, ``proxystore-patterns leaks``
    finds. Where there is no ``squeue`` the limit is taken from ``SLURM_JOB_END_TIME``;
    without either, only `close` ends it.

    Args:
        store: Of keys that are added without one.
        job_id: The default is the job that this process runs in.
        poll_seconds: How often Slurm is asked.
        name: For people to read.
        parent: Ends this lifetime when it ends, if that has not ended before.

    Raises:
        JobNotFoundError: No ``job_id``, and this process runs in no job.
        ValueError: ``poll_seconds`` is not greater than 0.
    """

    def __init__(
        self,
        store: Store[Any] | None = None,
        *,
        job_id: str | None = None,
        poll_seconds: float = 30.0,
        name: str | None = None,
        parent: EvictingLifetime | None = None,
    ) -> None:
        job = current_job() if job_id is None else str(job_id)
        if not job:
            raise JobNotFoundError
        self.job_id = job
        self._poll_seconds = checked_seconds("JobLifetime(poll_seconds=)", poll_seconds)
        super().__init__(store, name=name or f"job-{job}", parent=parent)
        self._limit_at: float | None = None
        self._look()

    def _look(self) -> None:
        """Ask Slurm, and again later."""
        if self.done():
            return
        status = job_status(self.job_id)
        if status.is_over:
            self.end_quietly()
            return
        limit_at = None if status.left is None else time.monotonic() + status.left
        if _is_put_off(self._limit_at, limit_at):
            self._limit_at = limit_at
            self._touch_all()
        CLOCK.after(self._poll_seconds, self._look, lane=self)

    def _touch_all(self) -> None:
        with self._lock:
            held = {store: list(keys) for store, keys in self._held.items()}
        for store, keys in held.items():
            try:
                self._touch(store, keys)
            except ProxyStoreError:
                # Asked for again with the next look.
                self._limit_at = None

    def _touch(self, store: Store[Any], keys: Iterable[Key]) -> None:
        if self._limit_at is None or Capability.LEASABLE not in store.capabilities:
            return
        left = max(0.0, self._limit_at - time.monotonic())
        for key in keys:
            store.touch(key, left + _GRACE_SECONDS)

    def _secure(self, store: Store[Any], keys: Sequence[Key]) -> None:
        # In any case: a job may be over before its limit.
        self._note(store, keys, job=self.job_id)
        self._touch(store, keys)


def _is_put_off(old: float | None, new: float | None) -> bool:
    """Whether a job got another limit, beyond what the seconds of Slurm's answers differ by."""
    if old is None or new is None:
        return old is not new
    return abs(new - old) > _GRACE_SECONDS / 2
