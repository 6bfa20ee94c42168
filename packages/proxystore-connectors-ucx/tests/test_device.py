"""Objects in the memory of a GPU: what is done with them, and what is said where there is none."""

from __future__ import annotations

import ctypes
import os
from typing import Any

import pytest

from proxystore.errors import ConnectorUnavailableError
from proxystore_connectors_ucx import UCXConnector
from proxystore_connectors_ucx._channel import _chunks
from proxystore_connectors_ucx._device import DeviceMemory


def has_gpu() -> bool:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 == driver.cuDeviceGetCount(ctypes.byref(count)) < count.value


needs_gpu = pytest.mark.skipif(not has_gpu(), reason="this machine has no GPU")
needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")


class Array:
    """What libraries for a GPU offer of an array, with nothing behind it."""

    def __init__(self, **facts: Any) -> None:
        self.__cuda_array_interface__ = {
            "shape": (4, 5),
            "typestr": "<f8",
            "data": (1 << 40, False),
            "version": 3,
            **facts,
        }


class DeviceArray(Array):
    """Bytes in the memory of a real GPU, by its driver alone."""

    def __init__(self, content: bytes) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        device, context, pointer = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
        self._do("cuInit", 0)
        self._do("cuDeviceGet", ctypes.byref(device), 0)
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)
        self._do("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(len(content)))
        self._do("cuMemcpyHtoD_v2", pointer, content, ctypes.c_size_t(len(content)))
        super().__init__(shape=(len(content),), typestr="|u1", data=(pointer.value, False))

    def _do(self, name: str, *arguments: Any) -> None:
        assert getattr(self._driver, name)(*arguments) == 0, name


@needs_no_gpu
@pytest.mark.parametrize("nbytes", [1, 40])
def test_without_a_gpu_its_arrays_are_refused_with_what_to_do(
    connector: UCXConnector, nbytes: int
) -> None:
    for use in (connector.put, lambda array: connector.set(connector.new_key(), array)):
        with pytest.raises(ConnectorUnavailableError, match=r"no driver.*cupy\.asnumpy"):
            use(Array(shape=(nbytes,)))
    assert connector.exists(connector.put(b"as before"))


@pytest.mark.parametrize("strides", [(8, 32), (80, 8)])
def test_an_array_that_is_not_contiguous_is_refused(
    connector: UCXConnector, strides: tuple[int, int]
) -> None:
    with pytest.raises(BufferError, match="contiguous"):
        connector.put(Array(strides=strides))


def test_device_memory_is_cut_as_host_memory_is() -> None:
    memory = DeviceMemory(Array(), 1 << 40, 40_000_000)
    parts = [each.__cuda_array_interface__ for each in _chunks([memory]) if len(each)]
    host = [len(each) for each in _chunks([bytes(40_000_000)])]
    assert [part["shape"] for part in parts] == [(nbytes,) for nbytes in host]
    starts = [part["data"][0] - (1 << 40) for part in parts]
    assert starts == [sum(host[:number]) for number in range(len(host))]


@needs_gpu
@pytest.mark.parametrize("nbytes", [1, 1000, 3 << 20, 50_000_000])
def test_an_array_in_device_memory_comes_back_as_its_bytes(
    connector: UCXConnector, nbytes: int
) -> None:
    content = os.urandom(nbytes)
    assert bytes(connector.get(connector.put(DeviceArray(content))) or b"") == content
