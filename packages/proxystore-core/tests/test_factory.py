from __future__ import annotations

import operator
import pickle

import pytest

from proxystore.factory import Factory, LambdaFactory, SimpleFactory


def test_a_factory_without_resolve_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="resolve"):
        Factory()


def test_calling_a_factory_resolves_it() -> None:
    class Answer(Factory[int]):
        def resolve(self) -> int:
            return 42

    assert Answer()() == 42


def test_a_simple_factory_gives_the_very_object() -> None:
    obj = object()
    assert SimpleFactory(obj)() is obj


def test_a_lambda_factory_calls_with_its_arguments() -> None:
    assert LambdaFactory(sorted, [1, 3, 2], reverse=True).resolve() == [3, 2, 1]


@pytest.mark.parametrize(
    ("factory", "expected"),
    [(SimpleFactory([1]), [1]), (LambdaFactory(operator.add, 1, 2), 3)],
)
def test_factories_pickle(factory: Factory[object], expected: object) -> None:
    assert pickle.loads(pickle.dumps(factory))() == expected


def test_the_repr_of_a_factory_names_types_and_prints_no_data() -> None:
    assert repr(SimpleFactory("secret")) == "<SimpleFactory of str>"
    assert repr(LambdaFactory(operator.add, "secret")) == "<LambdaFactory of add>"
