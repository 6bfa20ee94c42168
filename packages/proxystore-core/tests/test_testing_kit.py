"""The kit lets an honest connector pass, and sees what each saboteur breaks."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from proxystore.abc import Capability
from proxystore.testing import ConnectorContract, MemoryConnector
from proxystore.testing.saboteurs import SABOTEURS, sabotage

IN_MEMORY = frozenset(Capability) - {Capability.CROSS_PROCESS}
IN_FILES = frozenset(Capability) - {Capability.ASYNC}

SABOTAGED = """
import pytest
from proxystore.abc import Capability
from proxystore.connectors.file import FileConnector
from proxystore.testing import ConnectorContract, MemoryConnector
from proxystore.testing.saboteurs import SABOTEURS, Saboteur, sabotage


def make(connector_type, arguments, claims, saboteur):
    broken = sabotage(connector_type, saboteur)

    class Contract(ConnectorContract):
        capabilities = claims

        @pytest.fixture
        def connector(self, tmp_path):
            yield broken(*(tmp_path / argument for argument in arguments))

    return Contract


CASES = [(MemoryConnector, (), frozenset(Capability) - {Capability.CROSS_PROCESS}),
         (FileConnector, ("objects",), frozenset(Capability) - {Capability.ASYNC})]
for connector_type, arguments, claims in CASES:
    for name, saboteur in {**SABOTEURS, "Harmless": Saboteur}.items():
        if saboteur.needs <= claims:
            # Under the name that pytest collects.
            title = f"Test{name}On{connector_type.__name__}"
            globals()[title] = make(connector_type, arguments, claims, saboteur)
"""

RunPytest = Callable[..., dict[tuple[str, str], str]]


@pytest.fixture(scope="module")
def run_pytest(tmp_path_factory: pytest.TempPathFactory) -> RunPytest:
    """Runs pytest on a module in another process: outcome by class and test."""

    def run(source: str, *arguments: str) -> dict[tuple[str, str], str]:
        folder = tmp_path_factory.mktemp("kit")
        (folder / "test_it.py").write_text(textwrap.dedent(source))
        report = folder / "report.xml"
        selected = [part.replace("test_it.py", str(folder / "test_it.py")) for part in arguments]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder]
            + ["-W", "ignore", "--import-mode=importlib", f"--junitxml={report}"]
            + (selected or [str(folder / "test_it.py")]),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode in {0, 1}, done.stdout + done.stderr
        return outcomes(report)

    return run


def outcomes(report: Path) -> dict[tuple[str, str], str]:
    """Outcome of each test by class and name, the worst of its parameters."""
    found: dict[tuple[str, str], str] = {}
    for case in ET.parse(report).iter("testcase"):
        name = (case.attrib["classname"].rpartition(".")[2], case.attrib["name"].split("[")[0])
        failed = case.find("failure") is not None
        outcome = "failed" if failed else "error" if case.find("error") is not None else "passed"
        if found.get(name, "passed") == "passed":
            found[name] = outcome
    return found


def applicable(claims: frozenset[Capability]) -> list[str]:
    return [name for name, saboteur in SABOTEURS.items() if saboteur.needs <= claims]


@pytest.fixture(scope="module")
def sabotaged(run_pytest: RunPytest) -> dict[tuple[str, str], str]:
    """What came of the one test that should catch each saboteur, and of all tests without one."""
    wanted = []
    for connector, claims in (("MemoryConnector", IN_MEMORY), ("FileConnector", IN_FILES)):
        for name in applicable(claims):
            wanted.append(f"test_it.py::Test{name}On{connector}::{SABOTEURS[name].caught_by}")
        wanted.append(f"test_it.py::TestHarmlessOn{connector}")
    return run_pytest(SABOTAGED, *wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", applicable(IN_MEMORY))
def test_a_saboteur_of_the_memory_connector_is_caught(
    sabotaged: dict[tuple[str, str], str], name: str
) -> None:
    caught_by = SABOTEURS[name].caught_by
    assert sabotaged[f"Test{name}OnMemoryConnector", caught_by] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("name", applicable(IN_FILES))
def test_a_saboteur_of_the_file_connector_is_caught(
    sabotaged: dict[tuple[str, str], str], name: str
) -> None:
    caught_by = SABOTEURS[name].caught_by
    assert sabotaged[f"Test{name}OnFileConnector", caught_by] == "failed"


@pytest.mark.slow
@pytest.mark.parametrize("connector", ["MemoryConnector", "FileConnector"])
def test_a_saboteur_that_breaks_nothing_passes_everything(
    sabotaged: dict[tuple[str, str], str], connector: str
) -> None:
    found = {
        test: out for (case, test), out in sabotaged.items() if case == f"TestHarmlessOn{connector}"
    }
    assert len(found) > 50
    assert set(found.values()) == {"passed"}


def test_every_saboteur_can_be_put_on_a_connector_and_says_its_rule() -> None:
    assert set(SABOTEURS) == {*applicable(IN_MEMORY), *applicable(IN_FILES)}
    assert [name for name, saboteur in SABOTEURS.items() if not saboteur.__doc__] == []
    assert [s for s in SABOTEURS.values() if not hasattr(ConnectorContract, s.caught_by)] == []


def test_a_sabotaged_connector_pickles_by_what_it_was_made_from() -> None:
    import pickle

    broken = sabotage(MemoryConnector, SABOTEURS["AbsentRaises"])
    copied = pickle.loads(pickle.dumps(broken))
    assert copied.made_from == (MemoryConnector, SABOTEURS["AbsentRaises"])


def claiming(*capabilities: Capability, **members: object) -> type[ConnectorContract]:
    members["capabilities"] = frozenset(capabilities)
    return type("TestSomething", (ConnectorContract,), members)


def test_the_tests_of_unclaimed_capabilities_are_not_there() -> None:
    contract = claiming(Capability.RANGED)
    assert contract.test_a_range_is_a_slice is ConnectorContract.test_a_range_is_a_slice
    assert contract.test_a_key_is_set_once is None
    assert contract.test_the_medium_holds_the_bytes_that_were_put is None


def test_a_subclass_that_claims_more_gets_those_tests_back() -> None:
    narrow = claiming()
    wide = type("Wide", (narrow,), {"capabilities": frozenset({Capability.DEFERRABLE})})
    assert narrow.test_a_key_is_set_once is None
    assert wide.test_a_key_is_set_once is ConnectorContract.test_a_key_is_set_once


def test_reading_the_medium_adds_the_tests_that_do() -> None:
    contract = claiming(stored_bytes=lambda self, connector, key: None)
    assert contract.test_the_medium_holds_the_bytes_that_were_put is not None


def test_a_contract_test_cannot_be_overridden() -> None:
    with pytest.raises(TypeError, match=r"test_closing_twice.*xfail\(reason=\.\.\.\)"):
        claiming(test_closing_twice_is_not_an_error=lambda self, connector: None)


def test_a_contract_test_cannot_be_removed() -> None:
    with pytest.raises(TypeError, match="test_closing_twice"):
        claiming(test_closing_twice_is_not_an_error=None)


def test_a_contract_test_can_be_expected_to_fail_with_a_reason() -> None:
    @pytest.mark.xfail(reason="the server refuses a second close")
    def test_closing_twice_is_not_an_error(self: object, connector: object) -> None: ...

    claiming(test_closing_twice_is_not_an_error=test_closing_twice_is_not_an_error)


def test_an_xfail_without_a_reason_is_no_excuse() -> None:
    @pytest.mark.xfail
    def test_closing_twice_is_not_an_error(self: object, connector: object) -> None: ...

    with pytest.raises(TypeError, match="reason"):
        claiming(test_closing_twice_is_not_an_error=test_closing_twice_is_not_an_error)


def test_a_contract_class_without_claims_is_refused() -> None:
    with pytest.raises(TypeError, match="does not say what its connector can do"):
        type("TestSilent", (ConnectorContract,), {})


def test_a_wrong_claim_says_what_is_claimed_and_what_is_reported() -> None:
    class OnlyRanged(MemoryConnector):
        capabilities = frozenset({Capability.RANGED})

    contract = claiming(Capability.DEFERRABLE, Capability.LEASABLE)()
    with pytest.raises(AssertionError) as caught, OnlyRanged() as connector:
        contract.test_capabilities_are_exactly_those_claimed(connector)
    assert str(caught.value).splitlines()[0] == (
        "TestSomething.capabilities claims Capability.DEFERRABLE, Capability.LEASABLE, which "
        "connector.capabilities lacks; and it lacks Capability.RANGED, which "
        "connector.capabilities reports"
    )


@pytest.mark.slow
def test_a_contributor_sees_only_the_tests_of_what_is_claimed(run_pytest: RunPytest) -> None:
    found = run_pytest(
        """
        import pytest
        from proxystore.abc import Capability
        from proxystore.testing import ConnectorContract, MemoryConnector

        class OnlyRanged(MemoryConnector):
            capabilities = frozenset({Capability.RANGED})

        class TestOnlyRanged(ConnectorContract):
            capabilities = OnlyRanged.capabilities

            @pytest.fixture
            def connector(self):
                with OnlyRanged() as connector:
                    yield connector
        """
    )
    names = {name for _, name in found}
    assert set(found.values()) == {"passed"}
    assert "test_a_range_is_a_slice" in names
    assert "test_a_key_is_set_once" not in names
    assert "test_an_object_is_absent_after_its_ttl" not in names
