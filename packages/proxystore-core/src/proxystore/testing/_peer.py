"""Another process that uses a connector rebuilt from a config, one call at a time.

Run as a script, so that the other process imports the connector and nothing else.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from types import TracebackType
from typing import IO, Any, Self

__all__ = ["Peer"]

_TIMEOUT = 60.0


class Peer:
    """A fresh process at the other end of a connector.

    Keys travel as plain tuples, as they do in proxies, and become their
    `NamedTuple` there. Killed when the block ends, or 60 s after its start.

    Args:
        connector: What the process rebuilds, from its class and ``config()``.
    """

    # Any: typing the connector would import the contracts into the other process.
    def __init__(self, connector: Any) -> None:
        self._process = subprocess.Popen(
            # -P: the folder of this file must not shadow anything.
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._deadline = threading.Timer(_TIMEOUT, self._process.kill)
        self._deadline.daemon = True
        self._deadline.start()
        self._send((type(connector), connector.config()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    # Any: arguments and answers are those of the connector's methods.
    def ask(self, method: str, key: tuple[Any, ...] | None = None, *arguments: Any) -> None:
        """Have ``method`` called there, without waiting for the answer."""
        self._send((method, None if key is None else tuple(key), arguments))

    def answer(self) -> Any:
        """What the earliest unanswered call returned; raises what it raised."""
        assert self._process.stdout is not None
        try:
            returned, outcome = pickle.load(self._process.stdout)
        except EOFError:
            raise AssertionError(f"the other process ended, or took over {_TIMEOUT} s") from None
        if not returned:
            raise outcome
        return outcome

    def call(self, method: str, key: tuple[Any, ...] | None = None, *arguments: Any) -> Any:
        """`ask` and `answer`."""
        self.ask(method, key, *arguments)
        return self.answer()

    def kill(self) -> None:
        """kill -9, so that the process cannot tidy up. Idempotent."""
        self._deadline.cancel()
        self._process.kill()
        self._process.communicate()

    def _send(self, frame: Any) -> None:
        assert self._process.stdin is not None
        pickle.dump(frame, self._process.stdin)
        self._process.stdin.flush()


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    connector_type, config = pickle.load(requests)
    connector = connector_type.from_config(config)
    while True:
        try:
            method, raw_key, arguments = pickle.load(requests)
        except EOFError:
            return
        key = () if raw_key is None else (connector.key_type(*raw_key),)
        try:
            found = getattr(connector, method)(*key, *arguments)
            answer = (True, bytes(found) if isinstance(found, memoryview) else found)
        except Exception as exc:
            answer = (False, exc)
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    _serve(sys.stdin.buffer, sys.stdout.buffer)
