"""``python -m taps.run`` is ``taps run``."""

from __future__ import annotations

import sys

from taps.cli import main

if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
