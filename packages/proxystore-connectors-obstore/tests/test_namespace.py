"""Who owns a namespace, what clearing it removes, and what others find of it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from proxystore.errors import (
    ConfigError,
    ConnectorUnavailableError,
    MediumGoneError,
    NotOwnerError,
)
from proxystore_connectors_obstore import ObstoreConnector, ObstoreKey


@pytest.fixture
def names(moto: Any, connector: ObstoreConnector) -> Any:
    """A function that gives the names of all objects of the bucket, or under a prefix of it."""

    def listed(prefix: str = "") -> list[str]:
        found = moto.client.list_objects_v2(Bucket="bucket", Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    return listed


def test_clearing_removes_the_objects_of_its_own_prefix_only(
    connector: ObstoreConnector, names: Any, moto: Any, prefix_of: Any
) -> None:
    prefix = prefix_of(connector)
    connector.put_batch([b"x"] * 5)
    others = [f"{prefix}{end}" for end in ("-too/x", "/nested/.proxystore", "/nested/x", "/x.txt")]
    for name in others:
        moto.client.put_object(Bucket="bucket", Key=name, Body=b"")
    connector.close()
    assert others == names(prefix)


def test_more_objects_than_are_listed_at_once_are_cleared(tmp_path: Path) -> None:
    connector = ObstoreConnector(f"obstore+file://{tmp_path}/objects")
    connector.put_batch([b"x"] * 2100)
    connector.close()
    assert [] == list(tmp_path.iterdir())


def test_a_prefix_with_other_objects_is_refused_unless_adopted(
    s3_options: dict[str, Any], moto: Any
) -> None:
    name = s3_options["url"].removeprefix("s3://bucket/") + "/results"
    moto.client.put_object(Bucket="bucket", Key=name, Body=b"of somebody")
    with pytest.raises(ConfigError, match="objects under its prefix"):
        ObstoreConnector(**s3_options)
    assert moto.client.get_object(Bucket="bucket", Key=name)["Body"].read() == b"of somebody"
    with ObstoreConnector(**s3_options, adopt=True, clear=False) as connector:
        assert connector.is_owner
        assert connector.get(ObstoreKey("results")) == b"of somebody"


def test_opening_a_namespace_that_is_there_does_not_own_it(
    connector: ObstoreConnector, s3_options: dict[str, Any]
) -> None:
    key = connector.put(b"x")
    with ObstoreConnector(**s3_options) as other:
        assert not other.is_owner
        with pytest.raises(NotOwnerError):
            other.close(clear=True)
    with ObstoreConnector(**s3_options, adopt=True, clear=False) as heir:
        assert heir.is_owner
    assert connector.get(key) == b"x"


def test_an_owner_may_keep_the_objects(s3_options: dict[str, Any]) -> None:
    with ObstoreConnector(**s3_options, clear=False) as owner:
        key = owner.put(b"kept")
    with ObstoreConnector(**s3_options, adopt=True) as heir:
        assert heir.get(key) == b"kept"


@pytest.mark.parametrize("call", ["get", "exists", "evict"])
def test_a_namespace_that_nobody_made_is_told(s3_options: dict[str, Any], call: str) -> None:
    with ObstoreConnector.from_config(s3_options) as connector:
        with pytest.raises(MediumGoneError, match="nobody made this namespace"):
            getattr(connector, call)(ObstoreKey("x"))
        with pytest.raises(MediumGoneError, match="nobody made this namespace"):
            connector.put(b"x")


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ({"format": 2, "conditional": True}, "has format 2"),
        ({"conditional": True}, "not written by this package"),
        ([], "not written by this package"),
    ],
)
def test_a_namespace_of_another_version_is_told(
    connector: ObstoreConnector, moto: Any, marker: Any, said: str, prefix_of: Any
) -> None:
    name = f"{prefix_of(connector)}/.proxystore"
    moto.client.put_object(Bucket="bucket", Key=name, Body=json.dumps(marker).encode())
    with ObstoreConnector.from_config(connector.config()) as other:
        with pytest.raises(ConnectorUnavailableError, match=said):
            other.put(b"x")


def test_a_directory_is_private_and_goes_with_its_owner_and_what_died_there(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "a b?#%" / "objects"
    connector = ObstoreConnector("obstore+file://" + str(directory).replace("%", "%25")
                                 .replace("?", "%3F").replace("#", "%23"))
    assert directory.stat().st_mode & 0o077 == 0
    key = connector.put(b"x")
    with ObstoreConnector.from_url(connector.url) as other:
        assert other.get(key) == b"x"
    (directory / f"{key.object_id}#1").write_bytes(b"half of an obj")
    connector.close()
    assert not directory.exists()


def test_files_of_others_stay_when_a_directory_is_cleared(tmp_path: Path) -> None:
    with ObstoreConnector(f"obstore+file://{tmp_path}/objects") as connector:
        connector.put(b"x")
        (tmp_path / "objects" / "notes.txt").write_text("mine")
    assert os.listdir(tmp_path / "objects") == ["notes.txt"]


def test_a_lifecycle_rule_comes_with_its_owner_and_goes_and_leaves_those_of_others(
    s3_options: dict[str, Any], moto: Any, prefix_of: Any
) -> None:
    options = s3_options | {"region": "us-east-1"}
    other = {"ID": "of others", "Filter": {"Prefix": "logs/"}, "Status": "Enabled",
             "Expiration": {"Days": 90}}

    def rules() -> dict[str, Any]:
        found = moto.client.get_bucket_lifecycle_configuration(Bucket="bucket")
        return {rule["ID"]: rule for rule in found["Rules"]}

    ObstoreConnector(**options, lifecycle_days=7).close()
    with pytest.raises(moto.client.exceptions.ClientError, match="NoSuchLifecycle"):
        rules()
    moto.client.put_bucket_lifecycle_configuration(
        Bucket="bucket", LifecycleConfiguration={"Rules": [other]}
    )
    with ObstoreConnector(**options, lifecycle_days=7) as connector:
        prefix = prefix_of(connector)
        rule = rules()[f"proxystore {prefix}"]
        assert rule["Filter"]["Prefix"] == f"{prefix}/"
        assert rule["Expiration"]["Days"] == 7
        assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 1
        assert len(rules()) == 2
    assert list(rules()) == ["of others"]


def test_a_rule_without_boto3_is_refused_before_anything_is_made(
    s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "boto3", None)
        with pytest.raises(ConfigError, match="pip install boto3"):
            ObstoreConnector(**s3_options, region="us-east-1", lifecycle_days=7)
    with ObstoreConnector(**s3_options) as connector:
        assert connector.is_owner


def test_a_rule_that_s3_refuses_leaves_no_namespace_without_an_owner(
    moto: Any, forward: Any, s3_options: dict[str, Any]
) -> None:
    forwarder = forward(moto.port)
    # Only of this bucket there is none, for the service.
    forwarder.replaced = (b"/bucket?lifecycle", b"/nobody?lifecycle")
    options = {**s3_options, "endpoint": forwarder.endpoint, "region": "us-east-1"}
    with pytest.raises(ConnectorUnavailableError, match="lifecycle rule could not be changed"):
        ObstoreConnector(**options, lifecycle_days=7)
    with ObstoreConnector(**s3_options) as connector:
        assert connector.is_owner


@pytest.mark.parametrize("days", [0, -1, 1.5, "3", True])
def test_only_whole_days_are_a_rule(s3_options: dict[str, Any], days: Any) -> None:
    with pytest.raises(ConfigError, match="whole number of days"):
        ObstoreConnector(**s3_options, lifecycle_days=days)


def test_only_s3_takes_a_rule(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only S3"):
        ObstoreConnector(f"obstore+file://{tmp_path}/objects", lifecycle_days=1)
