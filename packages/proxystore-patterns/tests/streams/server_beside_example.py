"""The Redis server beside the example of the guide to streams, for `ci/run_examples.py`."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def main() -> None:
    """Serve on a free port of the loopback until standard input ends."""
    program = shutil.which("redis-server", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        sys.exit("There is no redis-server here: run ci/services redis.")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        place = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen([program, *place], stdout=subprocess.DEVNULL)
        try:
            while not _answers(port) and server.poll() is None:
                time.sleep(0.01)
            print(f"REDIS_PORT={port}\n", flush=True)
            sys.stdin.read()
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
