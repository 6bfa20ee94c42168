from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import proxystore
from proxystore._marker import require_whole


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A private copy of the installed package."""
    source = Path(proxystore.__file__).parent
    shutil.copytree(
        source, tmp_path / "proxystore", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    return tmp_path


def _run(tree: Path, code: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(tree)!r})\n{code}"
    # -I -S: an installed or configured copy must not stand in for the broken one.
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_whole_package_passes() -> None:
    require_whole()


def test_the_version_is_numeric() -> None:
    assert all(part.isdigit() for part in proxystore.__version__.split("."))


@pytest.mark.slow
def test_an_untouched_copy_imports(tree: Path) -> None:
    found = _run(tree, "import proxystore.proxy as m; print(m.__file__)")
    assert found.stdout.startswith(str(tree)), found.stderr


@pytest.mark.slow
def test_importing_says_that_the_older_system_was_installed_over_it(tree: Path) -> None:
    init = tree / "proxystore" / "__init__.py"
    init.write_text("__version__ = '1.1.0'\n")
    (tree / "proxystore" / "proxy.py").write_text("class Proxy: ...\n")
    found = _run(tree, "from proxystore.proxy import Proxy")
    assert found.returncode == 1
    assert f"{init} is not its own" in found.stderr
    assert "pip uninstall proxystore. Install proxystore-core again" in found.stderr
    assert "pip install --force-reinstall ./packages/proxystore-core" in found.stderr


@pytest.mark.slow
def test_importing_says_that_uninstalling_the_older_system_took_a_part_along(tree: Path) -> None:
    (tree / "proxystore" / "__init__.py").unlink()
    found = _run(tree, "try: import proxystore.proxy\nexcept ImportError as e: print(e)")
    assert "its __init__.py is gone" in found.stdout


@pytest.mark.slow
def test_the_check_reads_no_package_metadata(tree: Path) -> None:
    found = _run(tree, "import proxystore.proxy; print('importlib.metadata' in sys.modules)")
    assert found.stdout == "False\n", found.stderr
