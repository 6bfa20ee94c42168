"""Which collections there are, and at which one a process is."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest

from proxystore.errors import ConfigError, ConnectorUnavailableError
from proxystore_connectors_globus import GlobusConnector, GlobusEndpoint, GlobusEndpoints

ALPHA = GlobusEndpoint(uuid.UUID(int=1), "/~/objects/", Path("/data/a"), re.compile(r"a\d+"))
BETA = GlobusEndpoint(str(uuid.UUID(int=2)), "/objects", "/data/b/", r"b|alpha.*")


def test_fields_are_plain_and_in_one_form() -> None:
    assert {
        "uuid": str(uuid.UUID(int=1)),
        "endpoint_path": "/~/objects",
        "local_path": "/data/a",
        "host_regex": r"a\d+",
    } == ALPHA.fields()
    assert "/data/b" == BETA.local_path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("uuid", "not one"),
        ("endpoint_path", "objects"),
        ("endpoint_path", "/x/../y"),
        ("endpoint_path", "/x\ny"),
        ("local_path", "objects"),
        ("local_path", "/x\0y"),
        ("host_regex", "("),
    ],
)
def test_a_field_of_a_wrong_form_is_refused(field: str, value: str) -> None:
    with pytest.raises(ConfigError):
        GlobusEndpoint(**{**ALPHA.fields(), field: value})


@pytest.mark.parametrize("field", ["endpoint_path", "local_path", "host_regex"])
def test_a_field_of_a_wrong_type_is_refused(field: str) -> None:
    with pytest.raises(TypeError):
        GlobusEndpoint(**{**ALPHA.fields(), field: 7})


def test_every_written_form_gives_equal_collections(tmp_path: Path) -> None:
    expected = GlobusEndpoints([ALPHA, BETA])
    file = tmp_path / "collections.json"
    file.write_text(json.dumps(expected.dict()))
    forms = (
        GlobusEndpoints.of([ALPHA, BETA]),
        GlobusEndpoints.of(expected),
        GlobusEndpoints.of([ALPHA.fields(), BETA]),
        GlobusEndpoints.of(expected.dict()),
        GlobusEndpoints.from_dict(expected.dict()),
        GlobusEndpoints.from_json(file),
    )
    assert {expected} == set(forms)


def test_a_file_that_is_no_json_is_told(tmp_path: Path) -> None:
    file = tmp_path / "collections.json"
    file.write_text("{")
    with pytest.raises(ConfigError, match="not JSON"):
        GlobusEndpoints.from_json(file)
    file.write_bytes(b'"\xff"')
    with pytest.raises(ConfigError, match="not JSON"):
        GlobusEndpoints.from_json(file)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for file in (tmp_path / "missing.json", tmp_path):
        with pytest.raises(ConfigError, match=f"{file}.*cannot be read: (No such|Is a dir)"):
            GlobusEndpoints.from_json(file)


@pytest.mark.parametrize("few", [[], [ALPHA]])
def test_fewer_than_two_collections_are_refused(few: list[GlobusEndpoint]) -> None:
    with pytest.raises(ConfigError, match="fewer than two"):
        GlobusConnector(few)


def test_a_collection_given_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="twice"):
        GlobusEndpoints([ALPHA, BETA, ALPHA])


def test_something_else_than_a_collection_is_refused() -> None:
    with pytest.raises(TypeError):
        GlobusEndpoints([ALPHA, "beta"])  # type: ignore[list-item]


def test_an_unknown_field_names_the_nearest() -> None:
    fields = BETA.fields()
    fields["host_regexp"] = fields.pop("host_regex")
    with pytest.raises(ConfigError, match="host_regex"):
        GlobusEndpoints.of([ALPHA, fields])


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="local_path"):
        GlobusEndpoints.of({BETA.uuid: {"endpoint_path": "/", "host_regex": "b"}})


def test_a_host_is_at_the_first_collection_that_matches_its_whole_name() -> None:
    both = GlobusEndpoints([ALPHA, BETA])
    assert ALPHA == both.get_by_host("a12")
    assert BETA == both.get_by_host("alpha12")
    with pytest.raises(ConnectorUnavailableError, match=r"'xa12'.*host_regex"):
        both.get_by_host("xa12")


def test_the_environment_says_where_a_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    both = GlobusEndpoints([ALPHA, BETA])
    monkeypatch.setenv("PROXYSTORE_GLOBUS_COLLECTION", BETA.uuid.upper())
    assert BETA == both.here()
    monkeypatch.setenv("PROXYSTORE_GLOBUS_COLLECTION", BETA.uuid[:-1] + "3")
    with pytest.raises(ConfigError, match="Did you mean"):
        both.here()


def test_a_process_at_no_collection_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXYSTORE_GLOBUS_COLLECTION", raising=False)
    with pytest.raises(ConnectorUnavailableError, match="PROXYSTORE_GLOBUS_COLLECTION"):
        GlobusConnector([ALPHA, BETA])
