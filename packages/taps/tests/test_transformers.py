from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from proxystore.errors import ConfigError
from proxystore.proxy import Proxy
from taps.engine import Engine, JSONLinesRecordLogger, Transformer
from taps.executors.processes import ProcessPool
from taps.filters.never import NeverFilter
from taps.filters.size import ObjectSizeConfig, ObjectSizeFilter, PickleSizeFilter
from taps.filters.types import ObjectTypeConfig, ObjectTypeFilter
from taps.testing import tasks
from taps.transformers.file import PickleFileTransformer
from taps.transformers.proxystore import ConnectorChoice, ProxyStoreConfig

LARGE = "x" * 100_000


@pytest.fixture(params=["file", "proxystore", "extracting", "in the background", "file connector"])
def transformer(request: pytest.FixtureRequest, tmp_path: Path) -> Transformer[Any]:
    made: dict[str, Callable[[], Transformer[Any]]] = {
        "file": lambda: PickleFileTransformer(tmp_path / "objects"),
        "proxystore": lambda: ProxyStoreConfig().get_transformer(),
        "extracting": lambda: ProxyStoreConfig(extract_target=True).get_transformer(),
        "in the background": lambda: ProxyStoreConfig(async_resolve=True).get_transformer(),
        "file connector": lambda: ProxyStoreConfig(
            connector=ConnectorChoice(kind="file", options={"store_dir": str(tmp_path / "store")})
        ).get_transformer(),
    }
    return made[request.param]()


@pytest.fixture
def engine(transformer: Transformer[Any], records: Path) -> Any:
    logger = JSONLinesRecordLogger(records)
    pool = ProcessPool(2, "fork")
    filter_ = ObjectSizeFilter(min_bytes=1000)
    with Engine(pool, transformer=transformer, filter_=filter_, record_logger=logger) as engine:
        yield engine


def test_large_arguments_and_results_travel_by_reference(
    engine: Engine, read_records: Callable[[], list[dict[str, Any]]]
) -> None:
    parent = engine.submit(tasks.identity, LARGE)
    child = engine.submit(tasks.combine, nested=[{"a": parent}], small=1)
    result = child.result(60)
    assert str(result["nested"][0]["a"]) == LARGE
    first, second = read_records()
    assert first["argument_bytes"] < 2000
    assert second["argument_bytes"] < 2000
    assert first["input_transforms"] == 1
    assert first["input_transform_bytes"] >= 100_000


def test_small_values_stay_values(engine: Engine) -> None:
    future = engine.submit(tasks.add, 1, 2)
    assert future.result(60) == 3
    assert future.info.input_transforms == 0


def test_none_and_bools_arrive_as_they_are(transformer: Transformer[Any]) -> None:
    with Engine(ProcessPool(1, "fork"), transformer=transformer) as engine:
        assert engine.submit(tasks.identity, [None]).result(60) == [None]
        assert engine.submit(tasks.identity, None).result(60) is None
        assert engine.submit(tasks.identity, True).result(60) is True


def test_a_proxy_in_the_arguments_is_not_resolved_by_the_engine() -> None:
    def must_not_resolve() -> str:
        raise AssertionError("it was resolved")

    proxy: Proxy[str] = Proxy(must_not_resolve)
    with Engine(ThreadPoolExecutor(1)) as engine:
        assert engine.submit(tasks.identity, [proxy]).result(60)[0] is proxy


def test_closing_the_file_transformer_removes_only_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep me")
    transformer = PickleFileTransformer(tmp_path)
    identifier = transformer.transform([1, 2])
    assert transformer.resolve(pickle.loads(pickle.dumps(identifier))) == [1, 2]
    transformer.close()
    transformer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_options_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        ProxyStoreConfig(async_resolve=True, extract_target=True)


@pytest.mark.parametrize(
    ("passes", "value", "expected"),
    [
        (NeverFilter(), LARGE, False),
        (ObjectSizeFilter(min_bytes=1000), LARGE, True),
        (ObjectSizeFilter(max_bytes=1000), LARGE, False),
        (PickleSizeFilter(min_bytes=1000), [LARGE], True),
        (PickleSizeFilter(min_bytes=1000), ["x"], False),
        (ObjectTypeFilter(str), "x", True),
        (ObjectTypeFilter(patterns=["in."]), 3, True),
        (ObjectTypeFilter(patterns=["builtins.int"]), 3, True),
        (ObjectTypeFilter(patterns=["in"]), 3, False),
    ],
)
def test_filters_say_what_is_transformed(passes: Any, value: object, expected: bool) -> None:
    assert passes(value) is expected
    assert pickle.loads(pickle.dumps(passes))(value) is expected


def test_bounds_that_nothing_passes_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing would ever pass"):
        ObjectSizeConfig(min_size=2, max_size=1)


def test_a_pattern_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(ValidationError, match="not a regular expression"):
        ObjectTypeConfig(patterns=("(",))


def test_a_typo_in_the_options_of_a_connector_names_the_nearest() -> None:
    config = ProxyStoreConfig(connector=ConnectorChoice(kind="file", options={"stor_dir": "/x"}))
    with pytest.raises(ConfigError, match="Did you mean 'store_dir'"):
        config.get_transformer()
