"""The tile algorithm is right, and its check tells right from wrong."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taps.apps.cholesky import CholeskyConfig, nearest_divisors
from taps.engine import Engine
from taps.errors import PluginLoadError

np = pytest.importorskip("numpy", reason="the Cholesky application needs numpy")
pytest.importorskip("scipy", reason="the Cholesky application needs scipy")

from taps.apps import _cholesky as cholesky  # noqa: E402 - after the skips

RNG_SEED = 7


class Names:
    """A record logger that keeps the name of each task."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def log(self, record: dict[str, Any]) -> None:
        self.count[record["name"]] += 1

    def close(self) -> None:
        pass


def factorise(
    tmp_path: Path, size: int, block: int, executor: Executor | None = None
) -> tuple[cholesky.CholeskyApp, Counter[str]]:
    names = Names()
    app = cholesky.CholeskyApp(size, block, seed=3)
    with Engine(executor or ThreadPoolExecutor(2), record_logger=names) as engine:
        app.run(engine, tmp_path)
    return app, names.count


def dense(size: int, block: int, tile: Callable[[int, int], Any]) -> Any:
    matrix = np.zeros((size, size))
    for i in range(size // block):
        for j in range(i + 1):
            rows, columns = slice(i * block, (i + 1) * block), slice(j * block, (j + 1) * block)
            matrix[rows, columns] = tile(i, j)
    return matrix


def test_ten_by_ten_tiles_take_220_tasks(tmp_path: Path) -> None:
    _, names = factorise(tmp_path, size=40, block=4)

    assert names == {"potrf": 10, "trsm": 45, "syrk": 45, "gemm": 120}


@pytest.mark.parametrize(("size", "block"), [(1, 1), (6, 6), (6, 1), (40, 4), (96, 32)])
def test_the_factor_is_that_of_numpy(tmp_path: Path, size: int, block: int) -> None:
    app, _ = factorise(tmp_path, size, block)

    lower = dense(size, block, lambda i, j: cholesky.spd_tile(i, j, size=size, block=block, seed=3))
    matrix = np.tril(lower) + np.tril(lower, -1).T
    factor = dense(size, block, lambda i, j: app._factor[i, j])
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=1e-12, atol=1e-14)
    assert app.verify().ok


def test_the_residual_is_that_of_the_dense_factor(tmp_path: Path) -> None:
    app, _ = factorise(tmp_path, size=60, block=20)
    app._factor[2, 1] = app._factor[2, 1] + 1e-3

    lower = dense(60, 20, lambda i, j: cholesky.spd_tile(i, j, size=60, block=20, seed=3))
    matrix = np.tril(lower) + np.tril(lower, -1).T
    factor = dense(60, 20, lambda i, j: app._factor[i, j])
    expected = np.linalg.norm(matrix - factor @ factor.T) / np.linalg.norm(matrix)
    assert app.verify().value == pytest.approx(expected, rel=1e-9)


def test_the_estimate_is_close_to_the_exact_residual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _ = factorise(tmp_path, size=128, block=32)
    app._factor[3, 0] = app._factor[3, 0] + 1e-6
    exact = app.verify().value

    monkeypatch.setattr(cholesky, "EXACT_SIZE", 0)

    assert app.verify().value == pytest.approx(exact, rel=0.5)
    assert not app.verify().ok


@pytest.mark.parametrize(
    "damage",
    [
        lambda tile: tile * (1 + 1e-9),
        lambda tile: tile + 1e-9 * np.eye(len(tile)),
        lambda tile: np.full_like(tile, math.nan),
    ],
    ids=["scaled", "shifted", "nan"],
)
@pytest.mark.parametrize("place", [(0, 0), (2, 1)])
@pytest.mark.parametrize("exact_size", [0, 1024])
def test_a_factor_that_is_slightly_wrong_is_noticed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Any], Any],
    place: tuple[int, int],
    exact_size: int,
) -> None:
    app, _ = factorise(tmp_path, size=96, block=32)
    monkeypatch.setattr(cholesky, "EXACT_SIZE", exact_size)
    assert app.verify().ok

    app._factor[place] = damage(app._factor[place])

    assert not app.verify().ok


def test_another_square_root_of_the_matrix_is_noticed(tmp_path: Path) -> None:
    app, _ = factorise(tmp_path, size=16, block=16)
    rotation, _ = np.linalg.qr(np.random.default_rng(RNG_SEED).standard_normal((16, 16)))

    app._factor[0, 0] = app._factor[0, 0] @ rotation

    assert "not lower triangular" in app.verify().detail
    assert not app.verify().ok


def test_without_a_run_nothing_is_verified() -> None:
    assert not cholesky.CholeskyApp(4, 2).verify().ok


@pytest.mark.parametrize("kernel", [cholesky.syrk, cholesky.gemm, cholesky.trsm, cholesky.potrf])
def test_kernels_take_read_only_tiles_and_leave_them_alone(kernel: Any) -> None:
    lower = np.tril(np.random.default_rng(RNG_SEED).uniform(1, 2, (8, 8))) + 8 * np.eye(8)
    spd = lower @ lower.T
    arguments = {
        cholesky.syrk: [spd, lower],
        cholesky.gemm: [spd, lower, spd],
        cholesky.trsm: [lower, spd],
        cholesky.potrf: [spd],
    }[kernel]
    expected = {
        cholesky.syrk: spd - lower @ lower.T,
        cholesky.gemm: spd - lower @ spd.T,
        cholesky.trsm: spd @ np.linalg.inv(lower).T,
        cholesky.potrf: lower,
    }[kernel]
    copies = [argument.copy() for argument in arguments]
    for argument in arguments:
        argument.flags.writeable = False

    np.testing.assert_allclose(kernel(*arguments), expected, rtol=1e-9, atol=1e-9)
    for argument, copy in zip(arguments, copies, strict=True):
        np.testing.assert_array_equal(argument, copy)


def test_a_matrix_depends_on_its_seed_alone() -> None:
    make = cholesky.spd_tile

    again = make(1, 0, size=8, block=4, seed=5)

    np.testing.assert_array_equal(make(1, 0, size=8, block=4, seed=5), again)
    assert not np.array_equal(make(1, 0, size=8, block=4, seed=6), again)


@pytest.mark.slow
def test_worker_processes_give_the_same_factor(tmp_path: Path) -> None:
    alone, _ = factorise(tmp_path, size=64, block=16)
    pooled, names = factorise(tmp_path, size=64, block=16, executor=ProcessPoolExecutor(2))

    assert names == {"potrf": 4, "trsm": 6, "syrk": 6, "gemm": 4}
    assert pooled.verify().ok
    for place, tile in alone._factor.items():
        np.testing.assert_allclose(pooled._factor[place], tile, rtol=1e-12)


def test_a_block_that_does_not_divide_names_those_that_do() -> None:
    with pytest.raises(ValidationError, match=r"256 does not divide 1000\. .* are 250 or 500"):
        CholeskyConfig(matrix_size=1000, block_size=256)


@pytest.mark.parametrize(
    ("number", "wanted", "expected"),
    [(7, 3, (1, 7)), (12, 5, (4, 6)), (12, 100, (12,)), (1, 2, (1,)), (10, 1, (1, 2))],
)
def test_nearest_divisors(number: int, wanted: int, expected: tuple[int, ...]) -> None:
    assert expected == nearest_divisors(number, wanted)


@pytest.mark.parametrize("option", ["matrix_size", "block_size"])
def test_sizes_are_at_least_one(option: str) -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        CholeskyConfig.model_validate({option: 0})


def test_a_missing_dependency_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "taps.apps._cholesky")
    monkeypatch.setitem(sys.modules, "scipy", None)

    with pytest.raises(PluginLoadError, match=r"taps\[cholesky\]"):
        CholeskyConfig().get_app()
