"""The programs of the how-to for executors, as they stand there, on the real engines."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_PAGE = Path(__file__).resolve().parents[4] / "docs/how-to/executors.md"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_GUARD = 'if __name__ == "__main__":'
# The SDK's own executor has nobody to talk to.
_WITHOUT_SERVICE = """
import sys
sys.path.insert(0, {tasks!r})
import globus_compute_sdk, globus_endpoint
globus_compute_sdk.Executor = lambda endpoint_id: globus_endpoint.Endpoint("ProcessPoolEngine")
"""
_ENGINES = {
    "Dask": ("distributed", ""),
    "Parsl": ("parsl", ""),
    "Ray": ("ray", ""),
    "Globus Compute": ("globus_compute_endpoint", _WITHOUT_SERVICE),
}


@pytest.fixture(scope="module")
def parts():
    """The blocks of each part of the page; those before all parts under an empty name."""
    if not _PAGE.exists():
        pytest.skip("needs the documentation, which is in checkouts only")
    parts = re.split(r"^## (.*)$", _PAGE.read_text("utf-8"), flags=re.MULTILINE)
    blocks = [_BLOCK.findall(text) for text in parts[::2]]
    return dict(zip(["", *parts[1::2]], blocks, strict=True))


def run(program, folder):
    file = folder / "program.py"
    file.write_text(program, "utf-8")
    # Programs of engines are beside the interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-I", file.name],
        cwd=folder,
        # They write to the home of who runs them.
        env={**os.environ, "PATH": path, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_of_the_how_to_runs(parts, tmp_path):
    (program,) = parts[""]
    run(program, tmp_path)


@pytest.mark.parametrize("part", _ENGINES, ids=lambda part: f"{part.lower()}")
def test_the_programs_of_an_engine_run_as_they_stand(parts, tmp_path, part):
    module, before = _ENGINES[part]
    pytest.importorskip(module, reason=f"needs {part}")
    (first,) = parts[""]
    blocks = parts[part]
    assert blocks
    tasks = str(Path(__file__).with_name("tasks"))
    begins = before.format(tasks=tasks) + first.partition(_GUARD)[0]
    run("\n".join([begins, *blocks]), tmp_path)


def test_all_engines_of_the_page_are_run(parts):
    assert {part for part, blocks in parts.items() if blocks} == {"", *_ENGINES}
