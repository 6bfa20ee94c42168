"""What the services differ in: schemes, options, credentials, and what each can promise."""

from __future__ import annotations

import enum
from typing import NamedTuple

from proxystore.abc import Acknowledgement, Medium

__all__ = ["SECRETS", "Service"]


class _Traits(NamedTuple):
    scheme: str
    title: str
    places: tuple[str, ...]
    """Options that say where it is."""
    secrets: tuple[str, ...]
    """Options that take references to credentials."""
    medium: Medium
    acknowledges: Acknowledgement


class Service(enum.Enum):
    """A kind of object store."""

    S3 = _Traits(
        "s3",
        "S3",
        ("endpoint", "region"),
        ("access_key_id", "secret_access_key", "session_token"),
        Medium.NETWORK,
        Acknowledgement.DISK,
    )
    GCS = _Traits(
        "gs",
        "Google Cloud Storage",
        (),
        ("service_account",),
        Medium.NETWORK,
        Acknowledgement.DISK,
    )
    AZURE = _Traits(
        "az",
        "Azure Blob Storage",
        ("account", "endpoint"),
        ("account_key", "sas_token"),
        Medium.NETWORK,
        Acknowledgement.DISK,
    )
    LOCAL = _Traits(
        "obstore+file", "a directory", (), (), Medium.DISK, Acknowledgement.PROCESS
    )
    MEMORY = _Traits(
        "obstore+memory", "memory", (), (), Medium.PROCESS, Acknowledgement.MEMORY
    )

    @property
    def scheme(self) -> str:
        """Of its URLs."""
        return self.value.scheme

    @property
    def title(self) -> str:
        """What people call it."""
        return self.value.title

    @property
    def places(self) -> tuple[str, ...]:
        """Options that say where it is."""
        return self.value.places

    @property
    def secrets(self) -> tuple[str, ...]:
        """Options that take references to credentials."""
        return self.value.secrets

    @property
    def medium(self) -> Medium:
        """Where the bytes live."""
        return self.value.medium

    @property
    def acknowledges(self) -> Acknowledgement:
        """What an object survives once the service has answered."""
        return self.value.acknowledges

    @property
    def is_remote(self) -> bool:
        """Whether it is reached over a network."""
        return self.medium is Medium.NETWORK

    @property
    def has_attributes(self) -> bool:
        """Whether objects have attributes and can be exchanged if unchanged: leases need both."""
        return self is not Service.LOCAL


SECRETS = frozenset(name for service in Service for name in service.secrets)
"""Options of any service that take references to secrets."""
