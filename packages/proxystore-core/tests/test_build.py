"""The wheel: with the C proxy where there is a compiler, else without it, and loudly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="builds with the backend of the package")

SOURCE = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SOURCE / "hatch_build.py").exists(), reason="these tests lie beside no source"
    ),
]

NO_COMPILER = {"PATH": "", "CC": None}
"""A compiler is what CC names, or what Python was built with, which PATH does not lead to."""

_BUILD = "import sys; from hatchling.cli import hatchling; sys.exit(hatchling())"
_USE = """
import sys
sys.path.insert(0, sys.argv[1])
from proxystore.proxy import Proxy
assert Proxy(lambda: [1, 2]) + [3] == [1, 2, 3]
print(type(Proxy.__len__).__name__)
"""


def _run(folder: Path, environment: dict[str, str | None], *arguments: str) -> str:
    given = {**os.environ, "PROXYSTORE_PURE_PYTHON": None, **environment}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={name: value for name, value in given.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _build(folder: Path, environment: dict[str, str | None]) -> tuple[Path, str]:
    """The wheel that is built from a copy of the source, and what the build said."""
    source = folder / "source"
    shutil.copytree(SOURCE, source, ignore=shutil.ignore_patterns("*.so", "__pycache__", ".*"))
    said = _run(source, environment, "-c", _BUILD, "build", "-t", "wheel", "-d", str(folder))
    (wheel,) = folder.glob("*.whl")
    return wheel, said


def _used(wheel: Path) -> str:
    """Of what kind the methods of `Proxy` are, from ``wheel`` alone and without a compiler."""
    installed = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    return _run(wheel.parent, NO_COMPILER, "-I", "-S", "-c", _USE, str(installed)).strip()


@pytest.mark.parametrize("environment", [NO_COMPILER, {"CC": "no-such-compiler"}], ids=str)
def test_without_a_compiler_the_wheel_is_pure_and_the_build_says_so(
    tmp_path: Path, environment: dict[str, str | None]
) -> None:
    wheel, said = _build(tmp_path, environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "*** proxystore-core: built WITHOUT the C proxy" in said
    assert _used(wheel) == "function"


def test_a_pure_wheel_that_was_asked_for_is_no_reason_to_be_loud(tmp_path: Path) -> None:
    wheel, said = _build(tmp_path, {"PROXYSTORE_PURE_PYTHON": "1"})
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "***" not in said
    assert _used(wheel) == "function"


@pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler here")
def test_the_wheel_of_a_platform_needs_no_compiler_where_it_is_used(tmp_path: Path) -> None:
    wheel, said = _build(tmp_path, {})
    assert "-cp311-abi3-" in wheel.name
    assert "***" not in said
    assert _used(wheel) == "wrapper_descriptor"
