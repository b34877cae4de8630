"""All settings, described in one place; each is read from the environment as `CODEINTEL_<NAME>`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of every part of CodeIntel.

    Raises:
        pydantic.ValidationError: a variable holds a value outside its limits; the message names it.
    """

    model_config = SettingsConfigDict(env_prefix="CODEINTEL_", env_ignore_empty=True, frozen=True, extra="ignore")

    home: Path = Field(Path(".codeintel"), description="Home folder: mirrors, generations, vector cache, traces.")

    embedding_precision: Literal["int8", "fp32"] = Field(
        "int8", description="Precision of the embedded MiniLM encoder; part of the embedding contract."
    )
    embedding_threads: int = Field(2, ge=1, le=256, description="Threads of the ONNX Runtime session when building.")
    embedding_batch_tokens: int = Field(4096, ge=256, le=1 << 20, description="Tokens (padding included) per batch.")

    max_file_bytes: int = Field(1_000_000, ge=1_000, description="Larger files are skipped (reason `too_large`).")
    jvm_heap_mb: int = Field(512, ge=64, description="Heap of the Lucene JVM, in MiB.")
    dense_flat_max: int = Field(10_000, ge=1, description="Up to this many vectors the primary is exact (Flat).")
    dense_min_recall: float = Field(
        0.95, gt=0, le=1, description="recall@10 against exact search that an approximate primary must reach."
    )
    compaction_ratio: float = Field(
        0.05, gt=0, le=10, description="(secondary + tombstones) / primary above which the primary is rebuilt."
    )
    git_timeout_s: float = Field(600.0, gt=0, description="Limit for one git command (fetch included), in seconds.")
    verify_digests: bool = Field(True, description="Check the SHA-256 of every file before a generation is opened.")

    host: str = Field("127.0.0.1", description="Address that `codeintel serve` binds.")
    port: int = Field(8321, ge=1, le=65535, description="Port that `codeintel serve` binds.")
    watch_interval_s: float = Field(1.0, gt=0, description="How often the server looks for new generations.")

    retrieval_budget_ms: int = Field(400, ge=1, le=60_000, description="Budget of all retrieval channels together.")
    answer_budget_ms: int = Field(2_000, ge=1, le=120_000, description="Total budget of one answer.")
    channel_workers: int = Field(4, ge=1, le=64, description="Threads per retrieval channel.")
    candidates: int = Field(100, ge=10, le=1_000, description="Candidates asked of each channel.")
    max_per_file: int = Field(3, ge=1, le=100, description="Most hits of one file in a result.")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="Level of logs on stderr.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError as error:  # `~name` of nobody
            raise ValueError(str(error)) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return Settings()
