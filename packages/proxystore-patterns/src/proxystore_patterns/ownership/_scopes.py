"""Borrows that end with the task they were given to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from proxystore.proxy import get_factory
from proxystore_patterns.errors import ReferenceNotOwnedError
from proxystore_patterns.ownership._kinds import Bound, RefMutProxy, RefProxy, is_a

__all__ = ["FutureWithCallback", "mark_refs_out_of_scope", "submit"]


class FutureWithCallback(Protocol):
    """What a task gives: tells when it is over."""

    # Any: the future itself, of whatever class, to a function whose result is not used.
    def add_done_callback(self, function: Callable[[Any], Any], /) -> Any:
        """Call ``function`` with this future once the task is over, or at once if it is."""
        ...


F = TypeVar("F", bound=FutureWithCallback)


# Any in this module: arguments of every type.
def mark_refs_out_of_scope(*refs: RefProxy[Any] | RefMutProxy[Any]) -> None:
    """End borrows, here and wherever pickles of them were opened.

    For a caller who knows that the tasks that had them are over. A task that is
    not can use what it has read, and change nothing any more.

    Raises:
        ReferenceNotOwnedError: Something else is among them; then none was ended.
    """
    for ref in refs:
        if not is_a(ref, RefProxy, RefMutProxy):
            raise ReferenceNotOwnedError(
                "mark_refs_out_of_scope()", "RefProxy and RefMutProxy", f"a {type(ref).__name__}"
            )
    for ref in refs:
        _factory(ref).finish()


def submit(
    submit_func: Callable[..., F],
    *,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    register_custom_refs: Iterable[RefProxy[Any] | RefMutProxy[Any]] = (),
) -> F:
    """Give a task to an executor, and end the borrows among its arguments with it.

    They end when its future is done: with a result, an error, or because its process died.

    Args:
        submit_func: Such as ``executor.submit``; its result has ``add_done_callback``.
        args: Its arguments: the function and those of the task.
        kwargs: Its keyword arguments.
        register_custom_refs: Borrows to end as well, such as those inside of arguments;
            `submit` finds those that are arguments, or in lists, tuples and dicts of them.

    Returns:
        What ``submit_func`` returned.
    """
    kwargs = {} if kwargs is None else kwargs
    found = {id(ref): ref for ref in _refs((args, kwargs, list(register_custom_refs)))}
    refs = list(found.values())
    future = submit_func(*args, **kwargs)
    # Any: some futures say whether they are done, too.
    is_over: Any = getattr(future, "done", None)
    for ref in refs:
        _factory(ref).is_over = is_over

    # Any: the future itself, not used.
    def end(_: Any) -> None:
        mark_refs_out_of_scope(*refs)
        # They know the future, which keeps its callbacks: without this a circle keeps their owner.
        refs.clear()

    # The callback keeps them until then.
    future.add_done_callback(end)
    return future


def _factory(ref: RefProxy[Any] | RefMutProxy[Any]) -> Bound:
    factory = get_factory(ref)
    assert isinstance(factory, Bound)
    return factory


def _refs(value: Any) -> Iterable[RefProxy[Any] | RefMutProxy[Any]]:
    if is_a(value, RefProxy, RefMutProxy):
        yield value
    # By the very type, for a proxy says that it is of its target's.
    elif type(value) in {list, tuple}:
        for item in value:
            yield from _refs(item)
    elif type(value) is dict:
        yield from _refs(list(value.values()))
