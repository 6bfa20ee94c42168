"""Long-lived worker processes that measure one system each, on request."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_WORKERS = Path(__file__).parent / "workers"


class MeasuringProcess:
    """A script of `workers/`, run by the interpreter of one environment.

    It reads one JSON request a line from its standard input and answers each
    with one line on its standard output. Not thread safe.
    """

    def __init__(self, python: str, script: str, *args: str) -> None:
        self.command = [python, "-I", str(_WORKERS / script), *args]
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    # Any: each request has its own fields and answer.
    def ask(self, **request: Any) -> Any:
        """The answer to one request.

        Raises:
            RuntimeError: The process ended instead; its error is on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait(timeout=10)
            raise RuntimeError(f"{' '.join(self.command)} ended with code {code} during {request}")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
