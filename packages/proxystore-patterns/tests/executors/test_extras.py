"""What who has not installed an engine is told."""

import importlib
import pickle
import sys

import pytest

from proxystore_patterns.errors import ExtraNotInstalledError


@pytest.mark.parametrize(
    ("extra", "missing"),
    [("dask", "distributed"), ("dask", "cloudpickle"), ("parsl", "dill"), ("ray", "ray")],
)
def test_a_module_without_its_library_says_what_to_install(monkeypatch, extra, missing):
    if extra == "dask":
        pytest.importorskip("dask", reason="its own lack would be told first")
    for module in (extra, "_dask_executor", "_parcels"):
        name = f"proxystore_patterns.executors.{module}"
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ExtraNotInstalledError, match=f"library {missing!r}, which") as caught:
        importlib.import_module(f"proxystore_patterns.executors.{extra}")
    assert str(caught.value).endswith(f"./packages/proxystore-patterns[{extra}]")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
