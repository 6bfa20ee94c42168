# The proxies of ownership as type checkers see them.
#
# Not derived from `Proxy[T]`, which the plugin for mypy takes for T. The base Any makes each
# acceptable wherever its target is, and gives it the members of every name.

from typing import Any, Generic, TypeVar

_T_co = TypeVar("_T_co", covariant=True)

# Any: operators and members give what those of the target give.
class BaseRefProxy(Any, Generic[_T_co]):  # type: ignore[misc]
    def __getattr__(self, name: str) -> Any: ...

class OwnedProxy(BaseRefProxy[_T_co]): ...
class RefProxy(BaseRefProxy[_T_co]): ...
class RefMutProxy(BaseRefProxy[_T_co]): ...
class SharedProxy(BaseRefProxy[_T_co]): ...
