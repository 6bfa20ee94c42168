"""Serializer of `torch.Tensor`; imported only once torch is."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from proxystore.errors import CorruptObjectError
from proxystore.serialize._builtin import only
from proxystore.serialize._contract import Dumped, writable

__all__ = ["TensorSerializer"]

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex64, torch.complex128),
    )
}


class TensorSerializer:
    """Plain tensors in CPU memory, in place; everything else goes to pickle.

    Torch knows no read-only tensors, and writing to one over read-only memory
    ends the process: where the memory is read-only, loading copies.
    """

    identifier = "torch.Tensor"
    types = ("torch.Tensor",)

    def dump(self, obj: torch.Tensor) -> Dumped | None:
        name = str(obj.dtype).removeprefix("torch.")
        plain = (
            name in _DTYPES
            and obj.device.type == "cpu"
            and obj.layout == torch.strided
            and not (obj.requires_grad or obj.is_conj() or obj.is_neg() or vars(obj))
        )
        if not plain:
            return None
        in_band = f"{name};{','.join(map(str, obj.shape))}".encode("ascii")
        flat = obj.contiguous().reshape(-1)
        # As bytes, because numpy has no bfloat16.
        return in_band, (flat.view(torch.uint8).numpy().data if flat.numel() else b"",)

    def load(
        self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool
    ) -> torch.Tensor:
        name, _, dimensions = str(in_band, "ascii").partition(";")
        shape = [int(n) for n in dimensions.split(",")] if dimensions else []
        if name not in _DTYPES:
            raise CorruptObjectError(f"{name[:64]!r} is not a dtype of torch")
        buffer = only(buffers)
        if not buffer.nbytes:
            return _empty(shape, _DTYPES[name])
        return torch.frombuffer(writable(buffer), dtype=_DTYPES[name]).reshape(shape)


def _empty(shape: list[int], dtype: torch.dtype) -> torch.Tensor:
    if 0 not in shape:
        raise CorruptObjectError(f"a tensor of shape {shape} has no bytes")
    return torch.empty(shape, dtype=dtype)
