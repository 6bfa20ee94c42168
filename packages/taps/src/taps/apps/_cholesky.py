"""Tiled Cholesky factorisation: the tile kernels, the task graph and its check.

Source: the right-looking tile algorithm of Buttari, Langou, Kurzak and Dongarra,
"A class of parallel tiled linear algebra algorithms for multicore architectures",
Parallel Computing 35 (2009), Algorithm 1.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import TypeAlias

import numpy as np
import scipy.linalg
import threadpoolctl
from numpy.typing import NDArray

from taps.apps.abc import Verification
from taps.engine import Engine, TaskFuture, task

__all__ = ["CholeskyApp", "gemm", "potrf", "syrk", "trsm"]

Matrix: TypeAlias = NDArray[np.float64]
Tiles: TypeAlias = dict[tuple[int, int], Matrix]

EXACT_SIZE = 1024
"""Up to this many rows the residual is computed exactly, beyond it estimated."""

PROBES = 32


@functools.cache
def _use_one_blas_thread() -> None:
    # The tasks are the parallelism: with a BLAS pool per worker process, two workers
    # on two cores ran four spinning threads. Done once per process, and not undone,
    # because limits set and restored by overlapping tasks of a thread pool race.
    threadpoolctl.threadpool_limits(1, user_api="blas")


@task(name="potrf")
def potrf(a: Matrix) -> Matrix:
    """The lower Cholesky factor of a symmetric tile, of which the lower half is read.

    Raises:
        numpy.linalg.LinAlgError: The tile is not positive definite.
    """
    _use_one_blas_thread()
    factor: Matrix = scipy.linalg.cholesky(np.asarray(a), lower=True, check_finite=False)
    return factor


@task(name="trsm")
def trsm(diagonal: Matrix, a: Matrix) -> Matrix:
    """``a @ inv(diagonal).T`` for a lower triangular ``diagonal``."""
    _use_one_blas_thread()
    solved: Matrix = scipy.linalg.solve_triangular(
        np.asarray(diagonal), np.asarray(a).T, lower=True, check_finite=False
    )
    return solved.T


@task(name="syrk")
def syrk(a: Matrix, panel: Matrix) -> Matrix:
    """``a - panel @ panel.T``, for a tile on the diagonal."""
    return _subtract_product(a, panel, panel)


@task(name="gemm")
def gemm(a: Matrix, left: Matrix, right: Matrix) -> Matrix:
    """``a - left @ right.T``, for a tile below the diagonal."""
    return _subtract_product(a, left, right)


def _subtract_product(a: Matrix, left: Matrix, right: Matrix) -> Matrix:
    _use_one_blas_thread()
    product = np.asarray(left) @ np.asarray(right).T
    return np.subtract(np.asarray(a), product, out=product)


def spd_tile(row: int, column: int, *, size: int, block: int, seed: int) -> Matrix:
    """Tile ``(row, column)``, on or below the diagonal, of a random SPD matrix.

    Entries are uniform in [-1, 1) and ``size`` is added to the diagonal, which then
    dominates its row, so the matrix is positive definite (Gershgorin). A tile depends
    on its position and the seed alone: any one can be made again, at any time.

    Returns:
        float64 of shape ``(block, block)``.
    """
    tile = np.random.default_rng((seed, row, column)).uniform(-1.0, 1.0, (block, block))
    if row == column:
        tile = (tile + tile.T) / 2
        np.fill_diagonal(tile, tile.diagonal() + size)
    return tile


class CholeskyApp:
    """One factorisation of one seeded matrix.

    Only tiles on and below the diagonal exist. Tasks depend on each other by their
    futures alone, so a step begins before the one before it has ended.

    Args:
        matrix_size: Rows of the matrix; 8 * matrix_size**2 / 2 bytes are held.
        block_size: Rows of a tile; divides ``matrix_size``.
        seed: Of the matrix.
    """

    def __init__(self, matrix_size: int, block_size: int, *, seed: int = 0) -> None:
        self._size, self._block, self._seed = matrix_size, block_size, seed
        self._steps = matrix_size // block_size
        self._factor: Tiles = {}

    def run(self, engine: Engine, run_dir: Path) -> None:
        """Factorise; writes nothing to ``run_dir``."""
        futures = self._submit(engine)
        self._factor = {place: np.asarray(future.result()) for place, future in futures.items()}

    def _submit(self, engine: Engine) -> dict[tuple[int, int], TaskFuture[Matrix]]:
        # A tile is made just before the first task that reads it, so that workers are
        # busy from the first tile on and the client never holds the whole matrix.
        tiles: dict[tuple[int, int], TaskFuture[Matrix]] = {}

        def tile(row: int, column: int) -> Matrix | TaskFuture[Matrix]:
            return tiles[row, column] if (row, column) in tiles else self._tile(row, column)

        for k in range(self._steps):
            tiles[k, k] = engine.submit(potrf, tile(k, k))
            for i in range(k + 1, self._steps):
                tiles[i, k] = engine.submit(trsm, tiles[k, k], tile(i, k))
            for i in range(k + 1, self._steps):
                for j in range(k + 1, i):
                    tiles[i, j] = engine.submit(gemm, tile(i, j), tiles[i, k], tiles[j, k])
                tiles[i, i] = engine.submit(syrk, tile(i, i), tiles[i, k])
        return tiles

    def verify(self) -> Verification:
        """Check that the factor is lower triangular and its residual is rounding error.

        The residual is ``||A - L L^T||_F / ||A||_F`` with ``A`` made again from its
        seed, and must be at most ``(n + 1) * eps``, twice the bound of Higham,
        "Accuracy and Stability of Numerical Algorithms" (2002), Theorem 10.3.

        `R = A - L L^T` itself would cost as much as the factorisation, so beyond
        `EXACT_SIZE` rows the norm is estimated from ``R G``, with `PROBES` Gaussian
        vectors in ``G`` (Freivalds 1977; Hutchinson 1990): ``||R G||_F**2 / PROBES``
        has mean ``||R||_F**2``, and falls below a hundredth of it with probability at
        most ``(e / 100) ** (PROBES / 2)`` (Chernoff), less than 1e-24. Cost
        O(PROBES n**2), or O(n**3) for an exact one.
        """
        if not self._factor:
            return Verification(ok=False, detail="There is no factor: the run did not finish.")
        tolerance = (self._size + 1) * float(np.finfo(np.float64).eps)
        kind = "residual" if self._size <= EXACT_SIZE else "estimated residual"
        residual = self._residual()
        triangular = all(_is_factor(self._factor[k, k]) for k in range(self._steps))
        detail = f"{kind} {residual:.2e} (at most {tolerance:.2e})"
        if not triangular:
            detail += "; the factor is not lower triangular with a positive diagonal"
        return Verification(ok=triangular and residual <= tolerance, detail=detail, value=residual)

    def close(self) -> None:
        """Forget the factor."""
        self._factor = {}

    def _tile(self, row: int, column: int) -> Matrix:
        return spd_tile(row, column, size=self._size, block=self._block, seed=self._seed)

    def _residual(self) -> float:
        probe = self._probe()
        product, norm_squared = np.zeros_like(probe), 0.0
        half = np.zeros_like(probe)  # L^T probe
        for (i, j), tile in self._factor.items():
            half[self._rows(j)] += tile.T @ probe[self._rows(i)]
            a = self._tile(i, j)
            product[self._rows(i)] += a @ probe[self._rows(j)]
            if i != j:
                product[self._rows(j)] += a.T @ probe[self._rows(i)]
            norm_squared += float(np.vdot(a, a)) * (1 if i == j else 2)
        for (i, j), tile in self._factor.items():
            product[self._rows(i)] -= tile @ half[self._rows(j)]
        return float(np.linalg.norm(product)) / math.sqrt(norm_squared)

    def _probe(self) -> Matrix:
        if self._size <= EXACT_SIZE:
            return np.eye(self._size)
        gaussian = np.random.default_rng(self._seed).standard_normal((self._size, PROBES))
        return gaussian / math.sqrt(PROBES)

    def _rows(self, index: int) -> slice:
        return slice(index * self._block, (index + 1) * self._block)


def _is_factor(tile: Matrix) -> bool:
    return bool((tile.diagonal() > 0).all()) and not np.triu(tile, 1).any()
