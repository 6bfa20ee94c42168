"""Counting the words of a directory of text."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from taps.apps.abc import App, AppConfig

__all__ = ["MapReduceConfig"]


class MapReduceConfig(AppConfig):
    """Count words: map tasks over parts of the text, then a tree of reduce tasks."""

    name: Literal["mapreduce"] = Field("mapreduce", description="Word count of real text.")
    data_dir: Path | None = Field(
        None, description="Directory of text; none takes the standard library of this Python."
    )
    pattern: str = Field("*", min_length=1, description="Shell pattern of the file names to count.")
    map_tasks: int | None = Field(32, ge=1, description="Map tasks; none makes one per file.")
    fan_in: int = Field(8, ge=2, description="Counts that one reduce task merges.")
    top: int = Field(20, ge=1, description="Most frequent words written to words.csv.")
    generate: bool = Field(default=False, description="Count generated text instead of data_dir.")
    generated_files: int = Field(10, ge=1, description="Files to generate.")
    generated_words: int = Field(10_000, ge=1, description="Words in each generated file.")
    seed: int = Field(0, ge=0, description="Seed of generated text.")

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
