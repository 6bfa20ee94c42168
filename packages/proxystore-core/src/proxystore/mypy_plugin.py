"""Lets mypy take ``Proxy[T]`` for ``T``: ``plugins = proxystore.mypy_plugin``.

With it a proxy is accepted where its target is and nowhere else, has the members of its
target and no others, and `extract` gives the type that the proxy already has.
"""

from __future__ import annotations

from collections.abc import Callable

from mypy.plugin import AnalyzeTypeContext, FunctionContext, Plugin
from mypy.types import AnyType, Instance, Type, TypeOfAny, get_proper_type

__all__ = ["ProxyPlugin", "plugin"]

_PROXY = "proxystore.proxy._static.Proxy"


class ProxyPlugin(Plugin):
    """Replaces the type of proxies by that of their targets, in annotations and calls."""

    def get_type_analyze_hook(self, fullname: str) -> Callable[[AnalyzeTypeContext], Type] | None:
        return _annotated if fullname == _PROXY else None

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        return _made if fullname == _PROXY else None


def _annotated(context: AnalyzeTypeContext) -> Type:
    if len(context.type.args) == 1:
        return context.api.analyze_type(context.type.args[0])
    if context.type.args:
        context.api.fail("Proxy takes one type: that of its target", context.context)
        return AnyType(TypeOfAny.from_error)
    return AnyType(TypeOfAny.from_omitted_generics)


def _made(context: FunctionContext) -> Type:
    made = get_proper_type(context.default_return_type)
    return made.args[0] if isinstance(made, Instance) and made.args else made


def plugin(_version: str) -> type[Plugin]:
    """The plugin; what mypy asks a module of its ``plugins`` for."""
    return ProxyPlugin
