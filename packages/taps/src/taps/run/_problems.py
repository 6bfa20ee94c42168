"""What pydantic found wrong, in sentences for the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from proxystore.errors import did_you_mean

__all__ = ["option_name", "problems_of"]


def option_name(path: Sequence[str | int]) -> str:
    """How an option is written on the command line: ``("app", "a_b")`` is ``--app.a-b``."""
    parts = [str(part) for part in path]
    if parts[:1] == ["engine"] and parts[1:2] and parts[1] in {"executor", "transformer", "filter"}:
        parts = parts[1:]
    return "--" + ".".join(parts).replace("_", "-")


def problems_of(error: ValidationError, model: type[BaseModel], path: Sequence[str]) -> list[str]:
    """One sentence per problem.

    Args:
        error: From validating a ``model``.
        model: Its fields are suggested for unknown ones.
        path: Where the model is in the configuration.
    """
    return list(_problems(error, model, path))


def _problems(error: ValidationError, model: type[BaseModel], path: Sequence[str]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        where = option_name([*path, *problem["loc"]])
        if problem["type"] == "extra_forbidden":
            name = str(problem["loc"][-1])
            known = [field.replace("_", "-") for field in _fields_at(model, problem["loc"][:-1])]
            nearest = did_you_mean(name.replace("_", "-"), known)
            yield f"There is no option {where}.{nearest} Known here: {', '.join(sorted(known))}."
        elif problem["type"] == "missing":
            yield f"The option {where} has no default and must be given."
        else:
            message = problem["msg"].removeprefix("Value error, ").rstrip(".")
            yield f"{where} cannot be {_shown(problem['input'])}: {message}."


# Any: what a user gave may be anything.
def _shown(value: Any) -> str:
    return "combined so" if isinstance(value, (dict, BaseModel)) else repr(value)


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field is not None else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break
        model = inner
    return [name for name in model.model_fields if name != "name"]
