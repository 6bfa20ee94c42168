"""Configuration of the Cholesky application; numpy and scipy are imported when it starts."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from taps.apps.abc import App, AppConfig
from taps.errors import PluginLoadError
from taps.plugins import extra_advice

__all__ = ["CholeskyConfig"]


class CholeskyConfig(AppConfig):
    """Factorise a random symmetric positive definite matrix, tile by tile.

    With T = matrix_size / block_size the graph has T + T(T-1) + T(T-1)(T-2)/6
    tasks: T potrf, T(T-1)/2 trsm, T(T-1)/2 syrk and T(T-1)(T-2)/6 gemm.
    """

    name: Literal["cholesky"] = "cholesky"
    matrix_size: int = Field(default=1024, ge=1, description="rows of the square matrix")
    block_size: int = Field(
        default=256, ge=1, description="rows of a square tile; divides matrix_size"
    )
    seed: int = Field(default=0, ge=0, description="seed of the matrix")

    @model_validator(mode="after")
    def _block_divides_matrix(self) -> Self:
        if self.matrix_size % self.block_size:
            nearest = " or ".join(map(str, nearest_divisors(self.matrix_size, self.block_size)))
            raise ValueError(
                f"block_size must divide matrix_size, and {self.block_size} does not divide "
                f"{self.matrix_size}. The nearest block sizes that do are {nearest}."
            )
        return self

    def get_app(self) -> App:
        """A fresh application; imports numpy and scipy.

        Raises:
            PluginLoadError: One of them is not installed.
        """
        try:
            from taps.apps._cholesky import CholeskyApp
        except ImportError as exc:
            advice = extra_advice("taps", "cholesky")
            raise PluginLoadError("app", "cholesky", str(exc), advice) from exc
        return CholeskyApp(self.matrix_size, self.block_size, seed=self.seed)


def nearest_divisors(number: int, wanted: int) -> tuple[int, ...]:
    """The divisors of ``number`` on either side of ``wanted``; one if there is but one."""
    below = next(d for d in range(min(wanted, number), 0, -1) if number % d == 0)
    above = next((d for d in range(wanted + 1, number + 1) if number % d == 0), None)
    return (below,) if above is None else (below, above)
