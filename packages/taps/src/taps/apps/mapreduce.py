"""Counting the words of a directory of text."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from taps.apps.abc import App, AppConfig

__all__ = ["MapReduceConfig"]


class MapReduceConfig(AppConfig):
    """Count words: map tasks over parts of the text, then a tree of reduce tasks."""

    name: Literal["mapreduce"] = "mapreduce"
    data_dir: Path | None = Field(
        default=None,
        description="directory of text; none takes the standard library of this Python",
    )
    pattern: str = Field(
        default="*", min_length=1, description="shell pattern of the file names to count"
    )
    map_tasks: int | None = Field(
        default=32, ge=1, description="map tasks; none makes one per file"
    )
    fan_in: int = Field(default=8, ge=2, description="counts that one reduce task merges")
    top: int = Field(default=20, ge=1, description="most frequent words written to words.csv")
    generate: bool = Field(default=False, description="count generated text instead of data_dir")
    generated_files: int = Field(default=10, ge=1, description="files to generate")
    generated_words: int = Field(default=10_000, ge=1, description="words in each generated file")
    seed: int = Field(default=0, ge=0, description="seed of generated text")

    @model_validator(mode="after")
    def _one_source_of_text(self) -> Self:
        if self.generate and self.data_dir is not None:
            raise ValueError(
                "generate writes its text to the run directory, and data_dir names other text. "
                "Give one of the two."
            )
        return self

    def get_app(self) -> App:
        """A fresh application."""
        from taps.apps._mapreduce import MapReduceApp

        return MapReduceApp(self)
