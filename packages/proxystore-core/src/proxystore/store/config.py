"""Stores as configuration: validated models, read from and written to TOML.

The one module that imports pydantic, which takes 100 ms; nothing else in
`proxystore.store` imports this one before it is asked for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from proxystore.connectors.load import connector_type, new_connector
from proxystore.errors import ConfigError, nearest_name
from proxystore.store.options import StoreOptions, Verify
from proxystore.store.reference import StoreReference
from proxystore.store.types import DeserializerT, SerializerT

__all__ = ["ConnectorConfig", "StoreConfig"]

_DEFAULTS = StoreOptions()


@dataclass(frozen=True)
class _Origin:
    """Where a config was read. All are equal: configs that say the same are the same."""

    file: str | None = field(default=None, compare=False)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", use_enum_values=True, validate_default=True)

    _origin: _Origin = PrivateAttr(_Origin())

    @contextmanager
    def naming_file(self) -> Iterator[None]:
        """Let a `ConfigError` of the block name the file that the config came from, if any."""
        try:
            yield
        except ConfigError as exc:
            if self._origin.file is None:
                raise
            raise _in_file(exc, self._origin.file) from exc

    # Any: whatever stands in a config file.
    @model_validator(mode="before")
    @classmethod
    def _names_exist(cls, values: Any) -> Any:
        known = tuple(cls.model_fields)
        for name in values if isinstance(values, dict) else ():
            if name not in known:
                nearest = nearest_name(str(name), known)
                what = f"option {name!r} of {cls.__name__}"
                raise ConfigError(what, "there is none of that name", nearest, known)
        return values


def _in_file(error: ConfigError, file: str | Path) -> ConfigError:
    return ConfigError(f"{error.asked} in file {file}", error.found, error.nearest, error.known)


class ConnectorConfig(_Model):
    """Which connector, with which options."""

    kind: str
    """As for `proxystore.connectors.load.connector_type`."""
    # Any: options of different types.
    options: dict[str, Any] = Field(default_factory=dict)
    """What the connector's `config` gave, or its constructor takes."""

    def get_connector_type(self) -> type[Any]:
        """The connector's class.

        Raises:
            ConfigError: There is no such connector.
            ConnectorNotInstalledError: It is one of this family, but not installed.
        """
        with self.naming_file():
            return connector_type(self.kind)

    def get_connector(self) -> Any:
        """A new connector, which makes and owns its medium if there is none yet.

        `Store.from_config` attaches to one that is there, and never owns it.

        Raises:
            ConfigError: There is no such connector, or `options` do not fit it.
            ConnectorNotInstalledError: It is one of this family, but not installed.
        """
        with self.naming_file():
            return new_connector(self.kind, self.options)


class StoreConfig(_Model):
    """A store that can be opened anywhere, with `Store.from_config`.

    Can be a field of another pydantic model.
    """

    name: str
    connector: ConnectorConfig
    serializer: SerializerT | None = None
    deserializer: DeserializerT | None = None
    cache_size: int = Field(_DEFAULTS.cache_size, ge=0)
    cache_nbytes: int = Field(_DEFAULTS.cache_nbytes, ge=0)
    metrics: bool = _DEFAULTS.metrics
    populate_target: bool = _DEFAULTS.populate_target
    verify: Verify = Verify.AUTO
    readonly: bool = _DEFAULTS.readonly
    inline_nbytes: int = Field(_DEFAULTS.inline_nbytes, ge=0)
    auto_register: bool = False
    """Register the store as it is opened."""

    @property
    def reference(self) -> StoreReference:
        """What proxies carry of the store."""
        options = StoreOptions(**{name: getattr(self, name) for name in StoreOptions._fields})
        address = (self.connector.kind, self.connector.options)
        return StoreReference(address, self.name, options.changed())

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """The config in a TOML file.

        Errors about the connector in it show when a store or connector is made of
        it, and name the file too.

        Raises:
            ConfigError: The file cannot be read or is no TOML, or an option has
                an unknown name or a wrong value.
        """
        try:
            made = cls.model_validate(tomllib.loads(Path(path).read_text(encoding="utf-8")))
        except OSError as exc:
            raise ConfigError(f"file {path}", f"it cannot be read ({exc.strerror})") from exc
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
            raise ConfigError(f"file {path}", f"it is no TOML ({exc})") from exc
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(map(str, first["loc"])) or cls.__name__
            cause = first.get("ctx", {}).get("error")
            found = f"{where}: {first['msg']}"
            if isinstance(cause, ConfigError):
                raise _in_file(cause, path) from exc
            raise ConfigError(f"file {path}", found) from exc
        made._origin = made.connector._origin = _Origin(str(path))
        return made

    def write_toml(self, path: str | Path) -> None:
        """Write the config to a TOML file, and make its directory if there is none.

        Raises:
            ConfigError: The config has a serializer or deserializer, which no
                file can hold.
        """
        if self.serializer is not None or self.deserializer is not None:
            raise ConfigError(
                "a config with a serializer", "a file cannot hold a function; set it after reading"
            )
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(_without_none(self.model_dump())), encoding="utf-8")


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` without those that are `None`, which TOML cannot say."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }
