"""All settings, described in one place; each is read from the environment as `CODEINTEL_<NAME>`."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from codeintel_core.addresses import bucket_url, endpoint_url

_ENGINE_URL = re.compile(r"postgres(ql)?://([^@/]*@)?[^@/?]*(/[^@?]*)?(\?.*)?", re.DOTALL)  # as libpq takes it apart
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Settings(BaseSettings):
    """Settings of every part of CodeIntel.

    Raises:
        pydantic.ValidationError: a variable holds a value outside its limits; the message names it.
    """

    model_config = SettingsConfigDict(
        env_prefix="CODEINTEL_", env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )  # a value may be a secret

    home: Path = Field(
        Path(".codeintel"),
        description="Home folder: mirrors, generations, vector cache, traces; or `s3://bucket/prefix`.",
    )
    home_cache: Path = Field(
        Path(".codeintel"), description="Folder on this machine in front of a home in a bucket; it is worked in."
    )
    home_cache_gib: float = Field(
        50.0,
        gt=0,
        le=1e6,
        description="GiB that repositories in that folder may take; older generations go first.",
    )
    s3_endpoint: str = Field("", description="URL of an S3-compatible server of that bucket; empty: AWS.")
    s3_allow_http: bool = Field(False, description="Whether that URL may be http, unencrypted.")
    bucket_interval_s: float = Field(
        10.0, gt=0, le=86_400, description="How often the server asks the bucket for new generations (one listing)."
    )
    collect_traces: bool = Field(
        False, description="Makes the tables of what all machines of a home in a bucket answered; for one of them."
    )
    trace_handover_s: float = Field(
        60.0, gt=0, le=86_400, description="How often the other machines hand their trace rows to that bucket."
    )

    embedding_precision: Literal["int8", "fp32"] = Field(
        "int8", description="Precision of the embedded MiniLM encoder; part of the embedding contract."
    )
    embedding_threads: int = Field(
        2, ge=1, le=256, description="Batches that the embedded model encodes at once when building; threads of SPLADE."
    )
    embedding_batch_tokens: int = Field(
        512,
        ge=64,
        le=1 << 20,
        description="Tokens (padding included) per batch; more than a core's cache holds is slower.",
    )

    engine: Literal["inline", "local", "ray"] = Field(
        "local", description="Where chunking and embedding run: this process, a pool of processes, or a Ray cluster."
    )
    engine_workers: int = Field(0, ge=0, le=10_000, description="Most workers of an engine; 0: as many as its CPUs.")
    engine_inline_bytes: int = Field(
        8_000_000, ge=0, description="A build with fewer bytes to chunk does it in its own process; 0: never."
    )
    ray_address: str = Field(
        "auto", min_length=1, max_length=300, description="Ray cluster of the engine `ray`; `auto`: this machine's."
    )

    max_file_bytes: int = Field(1_000_000, ge=1_000, description="Larger files are skipped (reason `too_large`).")
    secret_files: str = Field(
        "", max_length=10_000, description="More globs of files that are never read; `!glob` allows a denied one."
    )
    jvm_heap_mb: int = Field(512, ge=64, description="Heap of the Lucene JVM, in MiB.")
    dense_flat_max: int = Field(10_000, ge=1, description="Up to this many vectors the primary compares all of them.")
    dense_min_recall: float = Field(
        0.95, gt=0, le=1, description="recall@10 against exact search that an approximate primary must reach."
    )
    lexical_first_texts: int = Field(
        2_000, ge=0, description="A build that would embed more texts than this publishes its lexical index first."
    )
    compaction_ratio: float = Field(
        0.05, gt=0, le=10, description="(secondary + tombstones) / primary above which compaction is due."
    )
    inline_rebuild_ratio: float = Field(
        0.5, gt=0, le=10, description="The same ratio above which a build rebuilds the primary itself, at once."
    )
    vector_engine: SecretStr | None = Field(
        None,
        description="PostgreSQL with pgvector that dense search asks first (`postgresql://user@host/name`); "
        "empty: the files here.",
    )
    dense_device: Literal["auto", "cpu", "gpu"] = Field(
        "cpu", description="Where the primary is searched; `auto` takes a GPU when FAISS has one, else the CPU."
    )
    gc_keep_last: int = Field(3, ge=1, le=10_000, description="Newest generations that garbage collection keeps.")
    gc_min_age_h: float = Field(24.0, ge=0, description="Younger generations are kept by garbage collection, in hours.")
    sensor_interval_s: int = Field(
        30, ge=1, le=86_400, description="How often git_head and needs_compaction look, in seconds."
    )
    head_interval_s: float = Field(
        300.0, gt=0, description="How often the git head sensor asks a URL for its head; paths are read at every tick."
    )
    head_timeout_s: float = Field(3.0, gt=0, le=4, description="Limit for asking a URL for its head, in seconds.")
    git_timeout_s: float = Field(600.0, gt=0, description="Limit for one git command (fetch included), in seconds.")
    verify_digests: bool = Field(True, description="Check the SHA-256 of every file before a generation is opened.")

    trace_queries: bool = Field(True, description="Keep the text of queries in traces; off: only their digest.")
    trace_answers: bool = Field(True, description="Keep the text of answers in traces.")
    trace_keep_days: int = Field(400, ge=2, le=36_500, description="Days that traces and feedback are kept.")
    delta_keep_days: int = Field(
        30, ge=1, le=36_500, description="Days that older versions of exported Delta tables can be read."
    )
    price_per_mtoken_in: float = Field(0.0, ge=0, description="Price of a million prompt tokens, for reports.")
    price_per_mtoken_out: float = Field(0.0, ge=0, description="Price of a million generated tokens, for reports.")
    ledger_keep_days: int = Field(30, ge=2, le=36_500, description="Days that step ledgers are kept.")

    host: str = Field(
        "127.0.0.1", description="Address that `codeintel serve` binds; others than loopback need API keys."
    )
    port: int = Field(8321, ge=1, le=65535, description="Port that `codeintel serve` binds.")
    workers: int = Field(
        1, ge=1, le=64, description="Processes of `codeintel serve` behind its port; more than one need `redis_url`."
    )
    worker_cpus: Literal["own", "any"] = Field(
        "own", description="Where several workers run: each on its share of the CPUs, or all on any."
    )
    rate_limit: str = Field(
        "1200/minute",
        pattern=r"^(none|[1-9]\d{0,8}/(second|minute|hour|day))$",
        description="Requests of one key, or of one address without a valid key, once there are keys; or `none`.",
    )
    allowed_hosts: str = Field(
        "", description="Names besides loopback and the bound address that the server answers to, comma-separated."
    )
    allowed_origins: str = Field(
        "", description="Origins besides its own whose pages may call the server (`https://a.example`), likewise."
    )
    concurrent_answers: int = Field(8, ge=1, le=10_000, description="Answers at the same time; more are refused.")
    concurrent_searches: int = Field(
        32, ge=1, le=10_000, description="Searches and other costly tools at the same time; more are refused."
    )
    concurrent_others: int = Field(32, ge=1, le=10_000, description="Other requests at the same time; likewise.")
    concurrent_requests: int = Field(
        512, ge=1, le=100_000, description="Requests held at the same time, those still arriving included; likewise."
    )
    body_timeout_s: float = Field(10.0, gt=0, le=600, description="Limit for sending the body of a request.")
    shutdown_notice_s: float = Field(
        1.0, ge=0, le=300, description="After SIGTERM, how long the server says `draining` before it stops to listen."
    )
    shutdown_grace_s: int = Field(10, ge=0, le=3_600, description="Then, how long requests in flight may still take.")
    redis_url: SecretStr | None = Field(
        None,
        description="Redis that shares scopes between workers and servers (`redis://127.0.0.1:6379/0`).",
    )
    redis_timeout_ms: int = Field(
        100, ge=1, le=10_000, description="Longest wait for Redis; after it, Redis is left alone for a second."
    )
    scope_entries: int = Field(10_000, ge=1, le=10_000_000, description="Scopes kept in the memory of a worker.")
    scope_ttl_s: float = Field(3_600.0, gt=0, le=2_592_000, description="Life of a scope handle.")
    open_generations: int = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Repositories a server process keeps open, least recently used closed first; five files each.",
    )
    watch_interval_s: float = Field(1.0, gt=0, description="How often the server looks for new generations.")

    retrieval_budget_ms: int = Field(400, ge=1, le=60_000, description="Budget of all retrieval channels together.")
    answer_budget_ms: int = Field(
        2_000, ge=1, le=120_000, description="Total budget of one answer, to its first token."
    )
    channel_workers: int = Field(4, ge=1, le=64, description="Threads per retrieval channel.")
    candidates: int = Field(100, ge=10, le=1_000, description="Candidates asked of each channel.")
    lexical_feedback: bool = Field(
        False, description="Second pass of the words (RM3) for prose whose best hit does not stand out; a few ms."
    )
    max_per_file: int = Field(3, ge=1, le=100, description="Most hits of one file in a result.")

    query_vector_cache: int = Field(4_096, ge=0, le=1_000_000, description="Query vectors kept in memory; 0: none.")
    result_cache: int = Field(
        256,
        ge=0,
        le=1_000_000,
        description="Search results, and answers of grep, symbols, tree and overview, kept in memory; workers share "
        "twice as many pages of results; 0: none.",
    )

    chat_base_url: str = Field(
        "", description="OpenAI-compatible base URL of the chat model (`http://127.0.0.1:8000/v1`); empty: extractive."
    )
    chat_model: str = Field("", max_length=300, description="Name of the chat model at that endpoint.")
    chat_api_key: SecretStr | None = Field(None, description="Key of the chat endpoint, when it wants one.")
    chat_max_tokens: int = Field(512, ge=1, le=1 << 20, description="Most tokens of a generated answer.")
    chat_answer_ms: int = Field(
        30_000, ge=1, le=600_000, description="Limit for a generated answer once its first token came in budget."
    )
    chat_idle_ms: int = Field(5_000, ge=1, le=600_000, description="Longest pause between two tokens.")
    embed_base_url: str = Field(
        "", description="OpenAI-compatible base URL of an embedding model; empty: the embedded MiniLM."
    )
    embed_model: str = Field("", max_length=300, description="Name of the embedding model at that endpoint.")
    embed_api_key: SecretStr | None = Field(None, description="Key of the embedding endpoint, when it wants one.")
    embed_query_prefix: str | None = Field(None, description="Prefix of queries, when the model is not a known one.")
    embed_document_prefix: str | None = Field(None, description="Prefix of documents, likewise.")

    sparse_model_dir: Path | None = Field(
        None, description="Folder of a SPLADE model (docs/models.md); empty, without an endpoint: no sparse channel."
    )
    sparse_base_url: str = Field(
        "", description="Base URL of a SPLADE model (vLLM, Text Embeddings Inference), in place of a folder."
    )
    sparse_model: str = Field("", max_length=300, description="Name of the sparse model at that endpoint.")
    sparse_api_key: SecretStr | None = Field(None, description="Key of the sparse endpoint, when it wants one.")
    sparse_document_terms: int = Field(256, ge=1, le=4_096, description="Strongest terms kept of each chunk.")
    sparse_query_terms: int = Field(64, ge=1, le=256, description="Strongest terms kept of a query.")

    rerank_base_url: str = Field(
        "", description="Base URL of a reranker that has vLLM's `/v1/score`; empty: answers are not reranked."
    )
    rerank_model: str = Field("", max_length=300, description="Name of the reranker at that endpoint.")
    rerank_api_key: SecretStr | None = Field(None, description="Key of the rerank endpoint, when it wants one.")
    rerank_candidates: int = Field(30, ge=2, le=200, description="Hits that are given to the reranker.")
    rerank_budget_ms: int = Field(
        500, ge=1, le=60_000, description="Most time of the reranker; at most a third of what is left of the answer."
    )

    trace_keep_ratio: float = Field(
        1.0, ge=0, le=1, description="Share of uneventful traces that are exported; notable ones always are."
    )
    trace_slow_ms: int = Field(
        1_000, ge=1, le=3_600_000, description="A request of this many milliseconds or more is a notable trace."
    )
    runpack_keep: int = Field(100, ge=1, le=10_000, description="Newest runpacks that are kept.")

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("WARNING", description="Level of logs on stderr.")

    _bucket: tuple[str, Path] | None = PrivateAttr(None)  # the bucket, and the folder in front of it

    @model_validator(mode="wrap")
    @classmethod
    def _home_in_a_bucket(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """With `s3://…` the home is the folder in front of the bucket, and `bucket_url` names the bucket."""
        home = data.get("home") if isinstance(data, dict) else None
        if not isinstance(home, str) or not home.startswith("s3://"):
            return handler(data)
        made = handler({**data, "home": data.get("home_cache") or cls.model_fields["home_cache"].default})
        made._bucket = (bucket_url(home), made.home)
        return made

    @property
    def bucket_url(self) -> str:
        """The bucket that holds the home, '' when the home is just a folder (also a throwaway one beside a bucket)."""
        return self._bucket[0] if self._bucket and self._bucket[1] == self.home else ""

    @field_validator("home", "home_cache", "sparse_model_dir")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        try:
            return value.expanduser().absolute() if value else None
        except RuntimeError as error:  # `~name` of nobody
            raise ValueError(str(error)) from None

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("the URL of Redis starts with redis://, rediss:// or unix://")
        return value

    @field_validator("vector_engine")
    @classmethod
    def _engine_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        url = value.get_secret_value()
        if not url.startswith(("postgresql://", "postgres://")):
            raise ValueError("the URL of the vector engine starts with postgresql://")
        if not _ENGINE_URL.fullmatch(url) or _BAD_PERCENT.search(
            url
        ):  # else a part of the password is taken for a host
            raise ValueError("the URL of the vector engine has @, / or % in its user or password: write %40, %2F, %25")
        return value

    @field_validator("chat_base_url", "embed_base_url", "rerank_base_url", "sparse_base_url", "s3_endpoint")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        return endpoint_url(value) if value else ""

    @property
    def has_sparse(self) -> bool:
        """Whether a sparse model is configured."""
        return bool(self.sparse_base_url or self.sparse_model_dir)

    @model_validator(mode="after")
    def _endpoints_name_a_model(self) -> Self:
        for role in ("chat", "embed", "rerank", "sparse"):
            if getattr(self, f"{role}_base_url") and not getattr(self, f"{role}_model"):
                raise ValueError(f"{role}_base_url is set: set {role}_model as well")
        if self.s3_endpoint.startswith("http://") and not self.s3_allow_http:
            raise ValueError("s3_endpoint is http, unencrypted: use https, or set s3_allow_http=true")
        if self.sparse_base_url and self.sparse_model_dir:
            raise ValueError("sparse_base_url and sparse_model_dir are both set: a sparse model comes from one of them")
        return self


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read from the environment once."""
    return Settings()
