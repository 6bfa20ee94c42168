"""``python -m taps`` is ``taps``."""

from __future__ import annotations

import sys

from taps.cli import main

if __name__ == "__main__":
    sys.exit(main())
