from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from proxystore.errors import SerializationError, UnknownSerializerError
from proxystore.serialize import (
    SAFE_SERIALIZERS,
    Serializer,
    deserialize,
    register_serializer,
    serialize,
    serializers,
    unregister_serializer,
    writable,
)


class Image:
    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels


class Photo(Image):
    pass


class ImageSerializer:
    identifier = "test.Image"
    types = (Image,)

    def dump(self, obj: Image) -> tuple[bytes, Sequence[memoryview]] | None:
        if obj.pixels.ndim != 1:
            return None
        return b"image", (obj.pixels.data,)

    def load(self, in_band: memoryview, buffers: Sequence[memoryview], *, readonly: bool) -> Image:
        assert in_band == b"image"
        buffer = buffers[0] if readonly else writable(buffers[0])
        return Image(np.frombuffer(buffer, np.uint8))


@pytest.fixture
def images() -> Iterator[ImageSerializer]:
    serializer = ImageSerializer()
    register_serializer(serializer)
    yield serializer
    if serializer.identifier in serializers():
        unregister_serializer(serializer.identifier)


@pytest.fixture
def image() -> Image:
    return Image(np.arange(10, dtype=np.uint8))


def uses(obj: object, identifier: str) -> bool:
    return identifier.encode() in bytes(serialize(obj)[0][40 : 40 + len(identifier)])


def test_a_registered_type_goes_through_its_serializer(
    images: ImageSerializer, image: Image
) -> None:
    assert isinstance(images, Serializer)
    assert uses(image, "test.Image")
    assert deserialize(serialize(image)).pixels.tolist() == list(range(10))
    assert "test.Image" in serializers()


def test_a_type_can_be_named_instead_of_imported(image: Image) -> None:
    class ByName(ImageSerializer):
        types = (f"{Image.__module__}.{Image.__qualname__}",)

    register_serializer(ByName())
    try:
        assert uses(image, "test.Image")
    finally:
        unregister_serializer("test.Image")


def test_subclasses_go_to_pickle(images: ImageSerializer, image: Image) -> None:
    assert uses(Photo(image.pixels), "pickle")


def test_a_serializer_may_leave_an_object_to_pickle(images: ImageSerializer) -> None:
    flat = Image(np.zeros((2, 2), np.uint8))
    assert uses(flat, "pickle")


def test_after_unregistering_objects_of_it_cannot_be_read(
    images: ImageSerializer, image: Image
) -> None:
    stored = serialize(image).join()
    unregister_serializer("test.Image")
    assert uses(image, "pickle")
    with pytest.raises(UnknownSerializerError, match=r"'test\.Image'.*register_serializer"):
        deserialize(stored)
    with pytest.raises(UnknownSerializerError):
        unregister_serializer("test.Image")


def test_an_identifier_or_type_is_taken_only_once_unless_told(images: ImageSerializer) -> None:
    class Other(ImageSerializer):
        identifier = "test.Other"

    with pytest.raises(SerializationError, match=r"identifier 'test\.Image'.*exist_ok"):
        register_serializer(ImageSerializer())
    with pytest.raises(SerializationError, match=r"type .*Image already"):
        register_serializer(Other())
    register_serializer(images, exist_ok=True)


@pytest.mark.parametrize("identifier", ["", "x" * 65, "caf\u00e9", "a b", "a\n"])
def test_identifiers_are_short_plain_ascii(identifier: str) -> None:
    serializer = ImageSerializer()
    serializer.identifier = identifier
    with pytest.raises(SerializationError, match="cannot identify a serializer"):
        register_serializer(serializer)


def test_a_serializer_that_raises_is_a_serialization_error(image: Image) -> None:
    class Broken(ImageSerializer):
        identifier = "test.Broken"

        def dump(self, obj: Image) -> None:
            raise KeyError("pixels")

    register_serializer(Broken())
    try:
        with pytest.raises(SerializationError, match=r"Image: KeyError") as caught:
            serialize(image)
        assert isinstance(caught.value.__cause__, KeyError)
    finally:
        unregister_serializer("test.Broken")


def test_every_safe_serializer_is_known() -> None:
    assert set(serializers()) >= SAFE_SERIALIZERS


@pytest.mark.slow
def test_an_installed_serializer_is_found_by_type_and_by_identifier(tmp_path: Path) -> None:
    (tmp_path / "pixels.py").write_text(
        "class Image:\n"
        "    def __init__(self, data): self.data = data\n"
        "    def __reduce__(self): raise TypeError('not by pickle')\n"
        "class ImageSerializer:\n"
        "    identifier = 'pixels.Image'\n"
        "    types = ('pixels.Image',)\n"
        "    def dump(self, obj): return b'', (obj.data,)\n"
        "    def load(self, in_band, buffers, *, readonly): return Image(bytes(buffers[0]))\n"
    )
    info = tmp_path / "pixels-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pixels\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[proxystore.serializers]\n"
        "pixels.Image = pixels:ImageSerializer\n"
        "pixels.Wrong = pixels:Image\n"
        "pixels.Gone = no_such_module:Serializer\n"
    )
    write = (
        "import sys, pixels; from proxystore.serialize import serialize;"
        "sys.stdout.buffer.write(serialize(pixels.Image(b'abc')).join())"
    )
    read = (
        "import sys; from proxystore.serialize import *\n"
        "from proxystore.serialize import _registry\n"
        "image = deserialize(sys.stdin.buffer.read())\n"
        "assert type(image).__name__ == 'Image' and image.data == b'abc'\n"
        "assert 'pixels.Wrong' in serializers()\n"
        "said_of = {'pixels.Wrong': 'missing 1 required', 'pixels.Gone': 'no_such_module'}\n"
        "for name, said in said_of.items():\n"
        "    try: _registry.registry.for_identifier(name)\n"
        "    except SerializationError as exc: assert said in str(exc), exc\n"
        "    else: raise AssertionError(name)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "PYTHONPATH": path}
    stored = subprocess.run(
        [sys.executable, "-c", write], env=environment, check=True, capture_output=True, timeout=60
    ).stdout
    subprocess.run(
        [sys.executable, "-c", read], env=environment, check=True, input=stored, timeout=60
    )


def test_threads_may_register_while_others_serialize(image: Image) -> None:
    failures: list[Exception] = []
    stop = threading.Event()

    def dump() -> None:
        try:
            while not stop.is_set():
                deserialize(serialize(np.arange(3)))
                serialize(image)
        except Exception as exc:
            failures.append(exc)

    threads = [threading.Thread(target=dump) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        register_serializer(ImageSerializer())
        unregister_serializer("test.Image")
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
