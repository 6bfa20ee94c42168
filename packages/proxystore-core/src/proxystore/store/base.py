"""`Store`: objects in a medium, and proxies of them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from proxystore.connectors.load import (
    adapt,
    check_parameters,
    connector_from_config,
    connector_from_url,
)
from proxystore.errors import ConfigError, StoreExistsError
from proxystore.store._proxies import ProxyingStore
from proxystore.store.cache import LRUCache
from proxystore.store.options import StoreOptions, Verify
from proxystore.store.reference import StoreReference
from proxystore.store.registry import STORES
from proxystore.store.types import ConnectorT, DeserializerT, SerializerT

if TYPE_CHECKING:
    from proxystore.store.config import StoreConfig
    from proxystore.store.metrics import StoreMetrics

__all__ = ["Store"]

_DEFAULTS = StoreOptions()


# Any in this module: objects of every type, and options of connectors.
class Store(ProxyingStore[ConnectorT]):
    """Keeps objects in a medium, and makes proxies that find them from anywhere.

    ``Store("demo")`` keeps them in shared memory of this node, in a private
    directory that ends with the store. ``Store("demo", connector)`` and
    ``Store(connector, name="demo")`` keep them where ``connector`` says; the
    store closes it. Thread safe, and usable in a forked child. Other processes
    get a store by resolving its proxies, or by its `url` or `config`.

    Objects are immutable. What `get` and proxies give of arrays and the like
    belongs to whoever asked; other objects are shared by all who ask in this
    process while they are cached (see `get`).

    Args:
        name: A label. Several stores may have the same.
        connector: Where the objects are.
        serializer: Gives the bytes of an object, in place of
            `proxystore.serialize.serialize`.
        deserializer: The inverse of ``serializer``; it is given `bytes`.
        cache_size: Most objects to cache in this process; 0 caches none.
        cache_nbytes: Most bytes of private memory that they may take. Views of
            shared memory are not kept: it costs less to map them anew. Those of a
            ``readonly`` store are shared while somebody uses them. Other arrays
            are kept from the second time on that they are got.
        cache: Keep them in this cache, within its bounds rather than those above,
            together with other stores of this process that are given the same one.
            `Store.cache` is this store's share of it.
        metrics: Measure what the store does; see `proxystore.store.metrics`.
        populate_target: Let proxies of this process hold the object that they
            were made of, rather than get it from the store.
        register: Call `register_store` at once.
        verify: When to check the contents of objects, beyond their lengths.
        readonly: Give arrays that cannot be written, of which no copy is made
            on any medium that can map.
        inline_nbytes: Objects that serialize to fewer bytes than this travel in their
            proxies and not by the medium, which costs less up to some 10 KB. `put` stores
            them all the same. They have no key; there is nothing of them to evict, so
            neither ``evict`` nor a lifetime ends them before their last proxy.

    Raises:
        StoreExistsError: ``register``, and a different store has the name.
        ConfigError: ``verify`` is no `Verify`.
        TypeError: ``connector`` is no connector, two names or connectors are given,
            a cache bound is no number, ``inline_nbytes`` is no whole number, or
            ``cache`` is no cache.
        ValueError: A cache bound or ``inline_nbytes`` is negative.
    """

    def __init__(
        self,
        first: str | ConnectorT | None = None,
        second: str | ConnectorT | None = None,
        /,
        *,
        name: str | None = None,
        connector: ConnectorT | None = None,
        serializer: SerializerT | None = None,
        deserializer: DeserializerT | None = None,
        cache_size: int = _DEFAULTS.cache_size,
        cache_nbytes: int = _DEFAULTS.cache_nbytes,
        cache: LRUCache | None = None,
        metrics: bool = False,
        populate_target: bool = True,
        register: bool = False,
        verify: Verify | str = Verify.AUTO,
        readonly: bool = False,
        inline_nbytes: int = _DEFAULTS.inline_nbytes,
    ) -> None:
        name, connector = _name_and_connector((first, second, name), connector)
        _check_cache(cache)
        _check_inline(inline_nbytes)
        options = StoreOptions(
            serializer=serializer,
            deserializer=deserializer,
            cache_size=cache_size,
            cache_nbytes=cache_nbytes,
            metrics=metrics,
            populate_target=populate_target,
            verify=Verify(verify).value,
            readonly=readonly,
            inline_nbytes=inline_nbytes,
        )
        made = _temporary() if connector is None else None
        # Any: without a connector there is nothing to infer its type from.
        chosen: Any = made if connector is None else connector
        super().__init__(name, chosen, options, cache)
        self._registers = register
        STORES.add(self)
        if register:
            try:
                STORES.register(self)
            except StoreExistsError:
                STORES.remove(self)
                if made is not None:
                    made.close()
                raise

    @classmethod
    def from_reference(cls, reference: StoreReference) -> Self:
        """A store to the medium that ``reference`` names, which it does not own."""
        address, name, options = reference
        if isinstance(address, str):
            connector = connector_from_url(address)
        else:
            connector = connector_from_config(*address)
        # Any: of the type that the address names.
        attached: Any = adapt(connector, owns=False)
        return cls(name, attached, **options)

    @classmethod
    def from_url(cls, url: str, *, name: str | None = None, **options: Any) -> Self:
        """A store to the medium at ``url``, which it does not own.

        Args:
            url: As `Store.url`, such as ``file:///directory``.
            name: A label; the default is the identity.
            options: As for `Store`.

        Raises:
            ConfigError: No connector knows the URL, it names an unknown option, or
                ``options`` do.
        """
        # Any: of the type that the URL names.
        attached: Any = adapt(connector_from_url(url), owns=False)
        try:
            return cls(name, attached, **options)
        except TypeError as exc:
            check_parameters(cls, options, f"of {cls.__name__}", exc)
            raise

    @classmethod
    def from_config(cls, config: StoreConfig) -> Self:
        """A store to the medium that ``config`` names, which it does not own.

        Raises:
            ConfigError: There is no such connector, or it has no such option; or
                ``config`` is something else, such as a dict.
            StoreExistsError: ``auto_register``, and a different store has the name.
        """
        if not hasattr(config, "connector"):
            raise ConfigError(
                f"a {type(config).__name__} as the config of a store",
                "expected a StoreConfig, which StoreConfig.model_validate() makes of a dict "
                "and StoreConfig.from_toml() of a file",
            )
        with config.connector.naming_file():
            connector = connector_from_config(config.connector.kind, config.connector.options)
        # Any: of the type that the config names.
        attached: Any = adapt(connector, owns=False)
        return cls(
            config.name,
            attached,
            register=config.auto_register,
            **config.reference.options,
        )

    def config(self) -> StoreConfig:
        """What `from_config` makes a store to the same medium from, anywhere."""
        from proxystore.store.config import ConnectorConfig, StoreConfig

        kind, options = self._whereabouts.kind, self._connector.config()
        return StoreConfig(
            name=self.name,
            connector=ConnectorConfig(kind=kind, options=options),
            auto_register=self._registers,
            **self.options._asdict(),
        )

    @property
    def serializer(self) -> SerializerT | None:
        """The store's own serializer, if it was given one."""
        return self.options.serializer

    @property
    def deserializer(self) -> DeserializerT | None:
        """The store's own deserializer, if it was given one."""
        return self.options.deserializer

    @property
    def metrics(self) -> StoreMetrics | None:
        """What was measured; `None` unless made with ``metrics=True``."""
        return self._metrics

    def close(self, *, clear: bool | None = None, **kwargs: Any) -> None:
        """Close the connector, and forget the store in this process. Idempotent.

        Proxies made here that are not resolved cannot be used after the owner
        of the medium closed it.

        Args:
            clear: Remove all objects. The default does if this store owns its
                medium: if its connector made it, in this process.
            kwargs: Passed to the connector's `close`.

        Raises:
            NotOwnerError: ``clear=True`` on a store that is not the owner. It
                stays open.
        """
        if self.closed:
            return
        self._connector.close(clear=clear, **kwargs)
        self.closed = True
        STORES.remove(self)
        self.cache.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self.name!r} at {self.url or self._whereabouts.kind}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be pickled. Send a proxy of an object in it, or send its url or "
            f"config() and open it there with Store.from_url() or Store.from_config()."
        )


def _name_and_connector(given: tuple[Any, ...], connector: Any) -> tuple[str | None, Any]:
    names = [each for each in given if isinstance(each, str)]
    connectors = [
        each for each in (*given, connector) if each is not None and not isinstance(each, str)
    ]
    if len(names) > 1 or len(connectors) > 1:
        raise TypeError(
            f"A Store has one name and one connector. Got names {names} and connectors "
            f"{connectors}. To open the medium at a URL, use Store.from_url(url, name=...)."
        )
    return next(iter(names), None), next(iter(connectors), None)


def _check_cache(cache: object) -> None:
    if not isinstance(cache, LRUCache | None):
        raise TypeError(
            f"Stores share an LRUCache of proxystore.store.cache. Found a {type(cache).__name__}: "
            f"make an LRUCache(maxsize, max_nbytes), and give the same one to each store."
        )


def _check_inline(nbytes: object) -> None:
    if type(nbytes) is not int:
        raise TypeError(f"inline_nbytes is a whole number of bytes, 0 or more, not {nbytes!r}.")
    if nbytes < 0:
        raise ValueError(f"inline_nbytes={nbytes} is less than nothing. Use 0 to store everything.")


def _temporary() -> Any:
    # Imported here, for most stores of a worker come by address.
    from proxystore.connectors.shm import ShmConnector

    return ShmConnector()


STORES.opener = Store.from_reference
