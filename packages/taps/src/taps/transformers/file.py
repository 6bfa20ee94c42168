"""A transformer that pickles objects into files of one directory."""

from __future__ import annotations

import os
import pickle
import shutil
import uuid
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from taps.transformers.abc import TransformerConfig

__all__ = ["FileConfig", "PickleFileIdentifier", "PickleFileTransformer"]


class PickleFileIdentifier(NamedTuple):
    """Stands for an object in a file."""

    cache_dir: str
    obj_id: str

    def path(self) -> Path:
        """Where the object is."""
        return Path(self.cache_dir) / self.obj_id


class PickleFileTransformer:
    """Keeps each object in a file of its own, until `close` removes them all.

    Whoever can write to the directory can run code in the workers, for they
    unpickle what is in it: it is made for its owner only.

    Args:
        cache_dir: Made if absent. Only files made by this transformer and its
            copies in workers are removed, and the directory if it is empty then.
    """

    def __init__(self, cache_dir: str | os.PathLike[str]) -> None:
        self._directory = Path(cache_dir).absolute() / uuid.uuid4().hex
        self._directory.mkdir(parents=True, mode=0o700)

    def transform(self, obj: Any) -> PickleFileIdentifier:
        """Write ``obj`` to a file that appears when it is complete."""
        return self.transform_measured(obj)[0]

    def transform_measured(self, obj: Any) -> tuple[PickleFileIdentifier, int]:
        """As `transform`, with the size of the file."""
        identifier = PickleFileIdentifier(str(self._directory), uuid.uuid4().hex)
        path = identifier.path()
        partial = path.with_suffix(".partial")
        with partial.open("xb") as file:
            pickle.dump(obj, file, protocol=5)
            nbytes = file.tell()
        partial.replace(path)
        return identifier, nbytes

    def resolve(self, identifier: PickleFileIdentifier) -> Any:
        """A fresh copy of the object.

        Raises:
            FileNotFoundError: The transformer was closed.
        """
        with identifier.path().open("rb") as file:
            return pickle.load(file)

    def is_identifier(self, obj: object) -> bool:
        """Whether ``obj`` stands for an object in a file."""
        return type(obj) is PickleFileIdentifier

    def close(self) -> None:
        """Remove every object. Idempotent."""
        shutil.rmtree(self._directory, ignore_errors=True)
        parent = self._directory.parent
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()


class FileConfig(TransformerConfig):
    """Passes objects by reference to files, pickled."""

    name: Literal["file"] = "file"
    file_dir: Path = Field(description="directory, shared by all workers; emptied at the end")

    def get_transformer(self) -> PickleFileTransformer:
        """A fresh transformer with a directory of its own below ``file_dir``."""
        return PickleFileTransformer(self.file_dir)
