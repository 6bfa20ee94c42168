"""Objects in the memory of a GPU, as UCX takes them."""

from __future__ import annotations

import ctypes
import math
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from proxystore.errors import ConnectorUnavailableError
from proxystore.payload import BytesLike

__all__ = ["DeviceArray", "DeviceMemory", "Piece"]

_DRIVER = "libcuda.so.1"
_ADVICE = "Copy the array to the host first, such as with cupy.asnumpy() or tensor.cpu()."


@runtime_checkable
class DeviceArray(Protocol):
    """An array of CuPy, Numba, PyTorch, RMM or another library, in the memory of a GPU."""

    # Any: the protocol gives its dictionary no narrower type.
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """What https://numba.readthedocs.io/en/stable/cuda/cuda_array_interface.html says."""
        ...


class DeviceMemory:
    """Bytes in the memory of a GPU, which this process must not touch but through UCX.

    Args:
        owner: What keeps the memory.
        address: Where it begins.
        nbytes: How many there are.
    """

    __slots__ = ("_address", "_nbytes", "_owner")

    def __init__(self, owner: DeviceArray, address: int, nbytes: int) -> None:
        self._owner, self._address, self._nbytes = owner, address, nbytes

    @classmethod
    def of(cls, array: DeviceArray) -> Self:
        """The memory of ``array``, once what is being computed there is done.

        Needs the driver of the GPU and none of the libraries.

        Raises:
            BufferError: ``array`` is not contiguous.
            ConnectorUnavailableError: This process has no CUDA.
        """
        facts = array.__cuda_array_interface__
        itemsize = int(facts["typestr"][2:])
        shape = facts["shape"]
        if facts.get("strides") not in {None, _strides(shape, itemsize)}:
            raise BufferError("The array in device memory is not C-contiguous. Put a copy of it.")
        _synchronise()
        return cls(array, facts["data"][0], math.prod(shape) * itemsize)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """As `DeviceArray`: plain bytes."""
        return {
            "shape": (self._nbytes,),
            "typestr": "|u1",
            "data": (self._address, False),
            "version": 3,
        }

    def __len__(self) -> int:
        return self._nbytes

    def __getitem__(self, part: slice) -> Self:
        start, stop, _ = part.indices(self._nbytes)
        return type(self)(self._owner, self._address + start, stop - start)


Piece: TypeAlias = BytesLike | DeviceMemory
"""A part of an object."""


def _strides(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    return tuple(itemsize * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _synchronise() -> None:
    """Wait for what other streams still write."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError as exc:
        found = f"this process has no driver of a GPU ({exc})"
        raise ConnectorUnavailableError("device memory", found, _ADVICE) from exc
    status = driver.cuCtxSynchronize()
    if status:
        found = f"CUDA says error {status} on cuCtxSynchronize"
        raise ConnectorUnavailableError("device memory", found, _ADVICE)
