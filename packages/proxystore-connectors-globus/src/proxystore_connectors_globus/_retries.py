"""Requests that are tried again until the connector's timeout, and never for longer."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from globus_sdk.transport import (
    RequestsTransport,
    RetryCheckResult,
    RetryConfig,
    RetryContext,
)

__all__ = ["Retries"]

# The time is what ends them. The SDK wants a number too.
_MOST = 1000
_LONGEST_PAUSE_S = 10.0
_LONGEST_ATTEMPT_S = 30.0


class Retries:
    """Makes the SDK try again what it deems worth it, until a time has passed.

    The SDK decides what to repeat (network errors, 429 and 5xx, with
    ``Retry-After`` heeded) but only counts attempts, each with a timeout of its own.
    Every request of this package may be repeated. Thread safe.

    Args:
        timeout: Seconds. A last attempt may begin just before, and last as long again.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._thread = threading.local()

    @contextmanager
    def operation(self) -> Iterator[None]:
        """Begin the time of this thread anew, unless it has begun further out."""
        if self._deadline() is not None:
            yield
            return
        self._thread.deadline = time.monotonic() + self._timeout
        try:
            yield
        finally:
            self._thread.deadline = None

    def config(self) -> RetryConfig:
        """What to give to a client as ``retry_config``."""
        config = RetryConfig(max_retries=_MOST, max_sleep=_LONGEST_PAUSE_S, backoff=self._pause)
        # Before those of the client, which come after it was made.
        config.checks.register_check(self._ends)
        config.checks.register_check(_repeats_what_was_cut)
        return config

    def transport(self) -> RequestsTransport:
        """What to give to a client as ``transport``."""
        return RequestsTransport(http_timeout=min(self._timeout, _LONGEST_ATTEMPT_S))

    def _deadline(self) -> float | None:
        deadline: float | None = getattr(self._thread, "deadline", None)
        return deadline

    def _remaining(self) -> float:
        deadline = self._deadline()
        return 0.0 if deadline is None else max(0.0, deadline - time.monotonic())

    def _ends(self, _ctx: RetryContext) -> RetryCheckResult:
        return RetryCheckResult.no_decision if self._remaining() else RetryCheckResult.do_not_retry

    def _pause(self, ctx: RetryContext) -> float:
        asked = ctx.backoff
        if asked is None:
            asked = (0.1 + 0.2 * random.random()) * 2 ** min(ctx.attempt, 6)  # noqa: S311
        return min(asked, self._remaining())


def _repeats_what_was_cut(ctx: RetryContext) -> RetryCheckResult:
    # A connection that ends within the headers looks like an empty answer to http.client.
    if ctx.response is None or not ctx.response.ok:
        return RetryCheckResult.no_decision
    try:
        ctx.response.json()
    except ValueError:
        return RetryCheckResult.do_retry
    return RetryCheckResult.no_decision
