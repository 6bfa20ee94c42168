"""Two sites for the example in the README: collections.json here, and the stand-in beside it.

Prints NAME=VALUE for the environment of the example, then an empty line, and stays until
its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

CLIENT_ID = str(uuid.uuid4())
SECRET = uuid.uuid4().hex


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="globus-example-") as scratch:
        folder = Path(scratch)
        roots = {str(uuid.uuid4()): folder / name for name in ("alpha", "beta")}
        for root in roots.values():
            root.mkdir()
        (folder / "collections.json").write_text(json.dumps({u: str(r) for u, r in roots.items()}))
        (folder / "clients.json").write_text(json.dumps({CLIENT_ID: SECRET}))
        Path("collections.json").write_text(
            json.dumps({
                collection: {
                    "endpoint_path": "/~/objects",
                    "local_path": str(root / "objects"),
                    "host_regex": root.name,
                }
                for collection, root in roots.items()
            })
        )
        program = [sys.executable, str(Path(__file__).with_name("local_globus")), scratch]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as stand_in:
            assert stand_in.stdout is not None
            url = stand_in.stdout.readline().split()[-1]
            for name, value in {
                "GLOBUS_SDK_SERVICE_URL_TRANSFER": url,
                "GLOBUS_SDK_SERVICE_URL_AUTH": url,
                "PROXYSTORE_HOME": str(folder / "home"),
                "PROXYSTORE_GLOBUS_CLIENT_ID": CLIENT_ID,
                "PROXYSTORE_GLOBUS_CLIENT_SECRET": SECRET,
                "PROXYSTORE_GLOBUS_COLLECTION": next(iter(roots)),
            }.items():
                print(f"{name}={value}")
            print(flush=True)
            # The stand-in has the same input, and ends with it.
            stand_in.wait()


if __name__ == "__main__":
    main()
