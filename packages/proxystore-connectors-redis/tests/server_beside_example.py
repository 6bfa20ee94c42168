"""The Redis server beside the example of README.md, for `ci/run_examples.py`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Serve on a unix socket until standard input ends."""
    program = shutil.which("redis-server", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        sys.exit("There is no redis-server here: run ci/services redis.")
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        sock = Path(folder) / "redis.sock"
        command = [program, "--port", "0", "--unixsocket", str(sock), "--save", "", "--dir", folder]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not sock.exists() and server.poll() is None:
                time.sleep(0.01)
            print(f"REDIS_URL=redis+unix://{sock}\n", flush=True)
            sys.stdin.read()
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
