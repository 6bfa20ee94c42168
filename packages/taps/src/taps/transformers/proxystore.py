"""A transformer that replaces objects by proxies of a `proxystore` store."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from proxystore.abc import Medium
from proxystore.connectors.load import connector_from_url, new_connector
from proxystore.errors import ConfigError
from proxystore.payload import Buffers
from proxystore.proxy import Proxy, extract, resolve_async
from proxystore.serialize import serialize
from proxystore.store import Store, get_or_create_store
from taps.transformers.abc import TransformerConfig

__all__ = ["ConnectorChoice", "ProxyStoreConfig", "ProxyTransformer"]

_UNCHECKED_NBYTES = 1024 * 1024


class ProxyTransformer:
    """Puts objects into a store and passes proxies of them around.

    The copy of a worker opens the same medium. `None` and `bool` cannot be
    proxied and stay values.

    Args:
        store: Closed by `close`, and with it all objects if it owns its medium.
        async_resolve: Fetch arguments in the background while the task starts.
        extract_target: Give tasks the objects themselves rather than proxies.
    """

    def __init__(
        self, store: Store[Any], *, async_resolve: bool = False, extract_target: bool = False
    ) -> None:
        self.store = store
        self._async_resolve, self._extract_target = async_resolve, extract_target
        in_memory = store.connector.medium in {Medium.PROCESS, Medium.SHARED_MEMORY}
        always = store.options.verify == "always"
        # Contents are checked exactly where the store would do it by itself.
        self._checksum_below = _UNCHECKED_NBYTES if in_memory and not always else None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.store.reference, self._async_resolve, self._extract_target)

    def transform(self, obj: Any) -> Any:
        """A proxy of ``obj``."""
        return self.transform_measured(obj)[0]

    def transform_measured(self, obj: Any) -> tuple[Any, int]:
        """As `transform`, with the bytes that were put into the store."""
        nbytes = 0

        def counted(obj: Any) -> Buffers:
            nonlocal nbytes
            buffers = serialize(obj, checksum_below=self._checksum_below)
            nbytes = buffers.nbytes
            return buffers

        return self.store.proxy(obj, serializer=counted, skip_nonproxiable=True), nbytes

    def resolve(self, identifier: Any) -> Any:
        """The proxy, which resolves on first use; or its target, if so configured."""
        if self._extract_target:
            return extract(identifier)
        if self._async_resolve:
            resolve_async(identifier)
        return identifier

    def is_identifier(self, obj: object) -> bool:
        """Whether ``obj`` is a proxy. Does not resolve it."""
        return isinstance(obj, Proxy)

    def close(self) -> None:
        """Close the store. Idempotent."""
        self.store.close()


# Any: a reference is the store's own business.
def _rebuild(reference: Any, async_resolve: bool, extract_target: bool) -> ProxyTransformer:  # noqa: FBT001 - from a pickle
    store = get_or_create_store(reference, register=False)
    return ProxyTransformer(store, async_resolve=async_resolve, extract_target=extract_target)


def _check_directory(url: str) -> None:
    # The connector would say so too, but only when the first task needs it.
    parts = urlsplit(url)
    if parts.scheme == "file" and not Path(unquote(parts.path)).is_dir():
        raise ConfigError(
            f"URL {url!r}",
            "there is no such directory. Make it first, or let --transformer.connector.kind "
            'file make one, with --transformer.connector.options \'{"store_dir": "..."}\'',
        )


class ConnectorChoice(BaseModel):
    """A connector by its kind and the options of its class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = Field(description="such as file or redis; see `proxystore doctor`")
    options: dict[str, Any] = Field(default_factory=dict, description="its options, as JSON")


class ProxyStoreConfig(TransformerConfig):
    """Passes objects by proxy; without further options, through shared memory of this node."""

    name: Literal["proxystore"] = "proxystore"
    connector: ConnectorChoice | None = Field(default=None, description="where objects are kept")
    url: str | None = Field(
        default=None,
        description="the same as a URL: file:///directory, which must exist (connector.kind file "
        "with the option store_dir makes one)",
    )
    cache_size: int = Field(default=256, ge=0, description="objects cached in each process")
    populate_target: bool = Field(
        default=True, description="let proxies keep the object where they were made"
    )
    async_resolve: bool = Field(default=False, description="fetch arguments in the background")
    extract_target: bool = Field(default=False, description="give tasks objects, not proxies")
    readonly: bool = Field(default=False, description="give tasks arrays they cannot write")

    @model_validator(mode="after")
    def _choices_agree(self) -> Self:
        if self.async_resolve and self.extract_target:
            raise ValueError("async_resolve and extract_target exclude each other; set one")
        if self.connector is not None and self.url is not None:
            raise ValueError("connector and url both say where objects are kept; set one")
        return self

    def get_transformer(self) -> ProxyTransformer:
        """A fresh store and its transformer.

        Raises:
            ConfigError: There is no such connector, it cannot be made of these options,
                or the directory of a URL does not exist.
            ProxyStoreError: The connector cannot be made for another reason.
        """
        connector: Any = None
        if self.url is not None:
            _check_directory(self.url)
            connector = connector_from_url(self.url)
        elif self.connector is not None:
            connector = new_connector(self.connector.kind, self.connector.options)
        store: Store[Any] = Store(
            "taps",
            connector,
            cache_size=self.cache_size,
            populate_target=self.populate_target,
            readonly=self.readonly,
        )
        return ProxyTransformer(
            store, async_resolve=self.async_resolve, extract_target=self.extract_target
        )
