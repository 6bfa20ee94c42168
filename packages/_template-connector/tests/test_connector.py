"""What this connector promises beyond the contract."""

from __future__ import annotations

import pickle
import sqlite3
from pathlib import Path

import pytest

from proxystore.errors import ConfigError, ConnectorUnavailableError, MediumGoneError
from proxystore.store import Store
from proxystore_connectors_template import TemplateConnector


def test_a_store_opens_by_url_once_the_package_is_installed(tmp_path: Path) -> None:
    with TemplateConnector(tmp_path / "objects.db") as owner:
        key = owner.put(b"bytes")
        with Store.from_url(owner.url) as store:
            assert bytes(store.connector.get(key)) == b"bytes"


def test_a_proxy_resolves_after_it_was_pickled(tmp_path: Path) -> None:
    with Store("results", TemplateConnector(tmp_path / "objects.db")) as store:
        proxy = pickle.loads(pickle.dumps(store.proxy([1, 2, 3])))
        assert proxy == [1, 2, 3]


def test_a_path_with_spaces_and_signs_survives_the_url(tmp_path: Path) -> None:
    with TemplateConnector(tmp_path / "a b?#%.db") as owner:
        key = owner.put(b"bytes")
        assert TemplateConnector.from_url(owner.url).get(key) == b"bytes"


def test_a_batch_that_fails_stores_nothing(tmp_path: Path) -> None:
    with TemplateConnector(tmp_path / "objects.db") as connector:
        with pytest.raises(TypeError):
            connector.put_batch([b"good", 5])  # type: ignore[list-item]
        with sqlite3.connect(tmp_path / "objects.db") as db:
            assert db.execute("SELECT count(*) FROM objects").fetchone() == (0,)


def test_a_file_that_was_removed_is_reported_and_not_made_again(tmp_path: Path) -> None:
    connector = TemplateConnector(tmp_path / "objects.db")
    key = connector.put(b"bytes")
    (tmp_path / "objects.db").unlink()
    with pytest.raises(MediumGoneError, match="is gone"):
        connector.get(key)
    assert not (tmp_path / "objects.db").exists()


def test_a_file_of_something_else_is_reported(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_text("These are 100 bytes that no SQLite has written. " * 3)
    with pytest.raises(ConnectorUnavailableError, match="not a database"):
        TemplateConnector(tmp_path / "objects.db")


def test_a_folder_that_is_missing_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConnectorUnavailableError, match="No such file"):
        TemplateConnector(tmp_path / "missing" / "objects.db")


@pytest.mark.parametrize("config", [{}, {"path": "/x", "pth": 1}])
def test_a_configuration_with_wrong_options_is_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"path|pth"):
        TemplateConnector.from_config(config)


@pytest.mark.parametrize("url", ["template:objects.db", "template://host/x", "template:///x?y=1"])
def test_a_url_that_is_no_absolute_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="absolute"):
        TemplateConnector.from_url(url)
