from __future__ import annotations

import numpy as np
import pytest

from proxystore.serialize import SAFE_SERIALIZERS, SerializationError, deserialize, serialize

torch = pytest.importorskip("torch", reason="torch is not installed")

DTYPES = ["bool", "uint8", "int16", "int64", "float16", "bfloat16", "float32", "complex64"]


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("name", DTYPES)
def test_tensors_come_back(name: str, shape: tuple[int, ...]) -> None:
    tensor = torch.ones(shape, dtype=getattr(torch, name))
    found = deserialize(serialize(tensor).join(), allow=SAFE_SERIALIZERS)
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(found, tensor)


def test_transposed_tensors_come_back() -> None:
    tensor = torch.arange(6).reshape(2, 3).T
    assert torch.equal(deserialize(serialize(tensor).join()), tensor)


def test_private_memory_is_aliased() -> None:
    data = bytearray(serialize(torch.zeros(10_000)).join())
    found = deserialize(data)
    assert np.shares_memory(found.numpy(), np.frombuffer(data, np.uint8))


@pytest.mark.parametrize("readonly", [True, False])
def test_read_only_memory_is_copied_for_torch_would_write_to_it(readonly: bool) -> None:
    data = serialize(torch.zeros(10_000)).join()
    found = deserialize(data, readonly=readonly)
    found += 1
    assert not deserialize(data).any()


@pytest.mark.parametrize("make", [
    lambda: torch.ones(3, requires_grad=True),
    lambda: torch.nn.Parameter(torch.ones(3)),
    lambda: torch.eye(3).to_sparse(),
])  # fmt: skip
def test_other_tensors_go_to_pickle(make: object) -> None:
    tensor = make()
    found = deserialize(serialize(tensor).join())
    assert type(found) is type(tensor)
    assert found.requires_grad == tensor.requires_grad
    assert torch.equal(found.to_dense(), tensor.to_dense())


def test_a_tensor_of_the_wrong_size_is_a_serialization_error() -> None:
    data = serialize(torch.zeros(10), checksum=False).join().replace(b"float32;10", b"float32;11")
    with pytest.raises(SerializationError):
        deserialize(data)
