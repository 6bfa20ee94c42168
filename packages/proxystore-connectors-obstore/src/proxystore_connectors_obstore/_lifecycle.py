"""The rule by which S3 itself ends the objects of a namespace, for an owner who asks for it.

obstore has no calls for it; boto3 has (extra ``lifecycle``).
"""

from __future__ import annotations

from typing import Any

from proxystore.errors import ConfigError, ConnectorUnavailableError
from proxystore.secrets import read_text_secret
from proxystore_connectors_obstore._address import Address
from proxystore_connectors_obstore._services import Service

__all__ = ["check_days", "end_after", "end_never"]

_BOTO_NAMES = {
    "access_key_id": "aws_access_key_id",
    "secret_access_key": "aws_secret_access_key",
    "session_token": "aws_session_token",
}


def check_days(address: Address, days: int | None) -> None:
    """Return if ``days`` can be asked of the service.

    Raises:
        ConfigError: The service is not S3, the number is none of its own, or boto3 is
            not installed.
    """
    if days is None:
        return
    if address.service is not Service.S3:
        found = f"only S3 takes it. Make such a rule for {address.service.title} with its own tools"
        raise ConfigError("option 'lifecycle_days'", found)
    if type(days) is not int or days < 1:
        raise ConfigError(f"option lifecycle_days={days!r}", "expected a whole number of days")
    _boto3()


def end_after(address: Address, days: int) -> None:
    """Have S3 remove what is under the prefix ``days`` after it was written, and parts after one.

    Rules of others stay. Two that change the rules of a bucket at the same time may lose one
    change, for S3 has one document for all.

    Raises:
        ConnectorUnavailableError: S3 refuses or cannot be reached.
    """
    rule = {
        "ID": _rule_id(address),
        "Filter": {"Prefix": f"{address.prefix}/"},
        "Status": "Enabled",
        "Expiration": {"Days": days},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    _change(address, [rule])


def end_never(address: Address) -> None:
    """Take back what `end_after` did.

    Raises:
        ConnectorUnavailableError: S3 refuses or cannot be reached.
    """
    _change(address, [])


def _rule_id(address: Address) -> str:
    return f"proxystore {address.prefix}"[:255]


# Any in what follows: boto3 has no types.
def _change(address: Address, rules: list[dict[str, Any]]) -> None:
    client, errors = _s3_client(address)
    try:
        others = [rule for rule in _rules(client, address) if rule.get("ID") != _rule_id(address)]
        if others + rules:
            client.put_bucket_lifecycle_configuration(
                Bucket=address.bucket, LifecycleConfiguration={"Rules": others + rules}
            )
        else:
            client.delete_bucket_lifecycle(Bucket=address.bucket)
    except errors as exc:
        raise ConnectorUnavailableError(
            address.where,
            f"the lifecycle rule could not be changed ({_said(exc)})",
            "See that the credentials may change the bucket's lifecycle; or do without the option.",
        ) from exc


def _rules(client: Any, address: Address) -> list[dict[str, Any]]:
    try:
        found = client.get_bucket_lifecycle_configuration(Bucket=address.bucket)
    except client.exceptions.ClientError as exc:
        if exc.response["Error"]["Code"] == "NoSuchLifecycleConfiguration":
            return []
        raise
    return list(found["Rules"])


def _s3_client(address: Address) -> tuple[Any, tuple[type[Exception], ...]]:
    """A client of boto3, and what it raises."""
    boto3 = _boto3()
    from botocore.config import Config  # type: ignore[import-untyped,unused-ignore]
    from botocore.exceptions import (  # type: ignore[import-untyped,unused-ignore]
        BotoCoreError,
        ClientError,
    )

    secrets = {
        _BOTO_NAMES[name]: read_text_secret(reference, address.where)
        for name, reference in address.credentials
    }
    seconds = address.timeout / 2
    config = Config(connect_timeout=seconds, read_timeout=seconds, retries={"max_attempts": 2})
    client = boto3.client(
        "s3",
        endpoint_url=address.endpoint,
        region_name=address.region,
        config=config,
        **secrets,
    )
    return client, (BotoCoreError, ClientError)


def _boto3() -> Any:
    try:
        import boto3  # type: ignore[import-untyped,unused-ignore]
    except ImportError as exc:
        found = "boto3 is not installed. Run: pip install boto3"
        raise ConfigError("option 'lifecycle_days'", found) from exc
    return boto3


# Not the text: it may name keys.
def _said(error: Exception) -> str:
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code") or type(error).__name__)
