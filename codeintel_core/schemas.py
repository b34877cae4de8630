"""Arrow schemas of every table that is written; one place, so that both sides and analysts agree."""

from __future__ import annotations

import pyarrow as pa


def _field(name: str, kind: pa.DataType, doc: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"doc": doc})


FILES = pa.schema(
    [
        _field("path", pa.string(), "path in the commit's tree"),
        _field("blob", pa.string(), "git object id of the content"),
        _field("size_bytes", pa.int64(), "size of the blob"),
        _field("language", pa.string(), "language, or '' when unknown"),
        _field("file_class", pa.string(), "source, test, example, generated, vendored, minified, docs or config"),
        _field("encoding", pa.string(), "utf-8, latin-1, or '' when skipped"),
        _field("lines", pa.int32(), "number of lines (0 when skipped)"),
        _field("chunks", pa.int32(), "number of chunks (0 when skipped)"),
        _field("skip_reason", pa.string(), "'' when indexed, else why it was skipped"),
        _field("redactions", pa.int32(), "values that were masked as secrets"),
    ]
)

CHUNKS = pa.schema(
    [
        _field("chunk_id", pa.int64(), "63-bit identity: repository, path, text, ordinal"),
        _field("repo", pa.string(), "repository name"),
        _field("path", pa.string(), "path in the commit's tree"),
        _field("blob", pa.string(), "git object id of the file"),
        _field("language", pa.string(), "language, or '' when unknown"),
        _field("file_class", pa.string(), "class of the file (see files)"),
        _field("encoding", pa.string(), "encoding of the file: utf-8 or latin-1"),
        _field("kind", pa.string(), "function, method, class, module, section, block or lines"),
        _field("symbol", pa.string(), "qualified symbol path such as Class.method, '' when none"),
        _field("name", pa.string(), "last part of the symbol, '' when none"),
        _field("signature", pa.string(), "first line or lines of the definition, '' when none"),
        _field("docstring", pa.string(), "docstring or leading comment, '' when none"),
        _field("imports", pa.string(), "names imported by the file, space separated, capped"),
        _field("start_line", pa.int32(), "first line, from 1"),
        _field("end_line", pa.int32(), "last line, inclusive"),
        _field("start_byte", pa.int64(), "first byte of the span in the blob"),
        _field("end_byte", pa.int64(), "byte after the span in the blob"),
        _field("part", pa.int32(), "index of this piece of a split definition, from 0"),
        _field("parts", pa.int32(), "number of pieces of the definition (1 when whole)"),
        _field("tokens", pa.int32(), "tokens of the text under the embedding contract's tokenizer"),
        _field("text", pa.string(), "exact text of the span, secrets masked"),
    ]
)

SYMBOLS = pa.schema(
    [
        _field("repo", pa.string(), "repository name"),
        _field("path", pa.string(), "path in the commit's tree"),
        _field("blob", pa.string(), "git object id of the file"),
        _field("language", pa.string(), "language of the file"),
        _field("name", pa.string(), "name as written"),
        _field("symbol", pa.string(), "qualified symbol path for definitions, enclosing symbol for references"),
        _field("kind", pa.string(), "function, method, class, interface, constant, type, module … or reference"),
        _field("role", pa.string(), "definition or reference"),
        _field("start_line", pa.int32(), "first line, from 1"),
        _field("end_line", pa.int32(), "last line, inclusive"),
        _field("chunk_id", pa.int64(), "chunk that holds the first line, if any", nullable=True),
    ]
)


def embeddings(dimension: int) -> pa.Schema:
    """Schema of the embeddings table for vectors of `dimension` float32 values."""
    return pa.schema(
        [
            _field("chunk_id", pa.int64(), "chunk the vector belongs to"),
            _field("text_key", pa.string(), "hash of (embedding contract, embedded text)"),
            _field("vector", pa.list_(pa.float32(), dimension), "unit-norm vector"),
        ]
    )


SPARSE = pa.schema(
    [
        _field("chunk_id", pa.int64(), "chunk the impacts belong to"),
        _field("text_key", pa.string(), "hash of (sparse contract, embedded text)"),
        _field("terms", pa.list_(pa.int32()), "term ids of the sparse model's vocabulary, rising"),
        _field("impacts", pa.list_(pa.int32()), "impact of each term: its weight in hundredths"),
    ]
)


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


_TIME = pa.timestamp("us", tz="UTC")

TRACE_SCHEMA_VERSION = 6
"""Of `ANSWER_TRACES` and `FEEDBACK`; files and journals of an older one are read and upgraded."""

ANSWER_TRACES = pa.schema(
    [
        _field("trace_id", pa.string(), "id of this row, unique"),
        _field("run_id", pa.string(), "id of the request; joins ledger and logs"),
        _field("session_id", pa.string(), "the caller's session, '' when none"),
        _field("otel_trace_id", pa.string(), "OpenTelemetry trace id"),
        _field("operation", pa.string(), "search or answer"),
        _field("surface", pa.string(), "rest, mcp or cli"),
        _field("machine", pa.string(), "host name of the machine that answered, '' in rows from before version 5"),
        _field("asked_at", _TIME, "when the request started"),
        _field("query", pa.string(), "query or question as asked, '' when the setting `trace_queries` is off"),
        _field("query_digest", pa.string(), "SHA-256 of the trimmed query, 16 hex digits: equal queries without text"),
        _field("query_kind", pa.string(), "identifier, path, error, natural or mixed; '' when not reached"),
        _field("scope", pa.string(), "scope of the request as JSON"),
        _field("mode", pa.string(), "auto, hybrid, lexical, semantic, sparse, exact or regex"),
        _field(
            "generations",
            pa.list_(_struct(repo=pa.string(), gen_id=pa.string(), commit=pa.string(), dagster_run_id=pa.string())),
            "generations that were searched",
        ),
        _field(
            "lags",
            pa.list_(_struct(repo=pa.string(), commits_behind=pa.int64(), minutes_behind=pa.float64())),
            "how far each served index was behind its source when the request was answered; null: unknown",
        ),
        _field("retrieval_budget_ms", pa.int32(), "budget of retrieval"),
        _field("total_budget_ms", pa.int32(), "budget of the request"),
        _field(
            "stages",
            pa.list_(
                _struct(
                    name=pa.string(), status=pa.string(), reason=pa.string(), start_ms=pa.float64(), ms=pa.float64()
                )
            ),
            "steps in the order they ended",
        ),
        _field("latency_ms", pa.map_(pa.string(), pa.float64()), "milliseconds by stage, and `total`"),
        _field(
            "candidates",
            pa.list_(
                _struct(
                    chunk_id=pa.int64(),
                    repo=pa.string(),
                    path=pa.string(),
                    blob=pa.string(),
                    symbol=pa.string(),
                    start_line=pa.int32(),
                    end_line=pa.int32(),
                    rank=pa.int32(),
                    score=pa.float64(),
                    fused=pa.float64(),
                    channels=pa.list_(_struct(channel=pa.string(), rank=pa.int32(), score=pa.float64())),
                    cited=pa.bool_(),
                    citation=pa.int32(),
                )
            ),
            "hits; `channels` says which found them, at which rank and score; `citation` is their number, or 0",
        ),
        _field(
            "fusion",
            pa.list_(_struct(channel=pa.string(), weight=pa.float64(), low=pa.float64(), high=pa.float64())),
            "weight of each channel in the fused score, and the range of its scores, which fusion scales to 0..1",
        ),
        _field("tuning_id", pa.string(), "tuning document that changed the weights, '' when none did"),
        _field("answer", pa.string(), "answer text, '' for a search or when the setting `trace_answers` is off"),
        _field("model", pa.string(), "what wrote the answer: extractive or a chat model, '' for a search"),
        _field("prompt_version", pa.string(), "version of the prompt's template, '' when nothing was generated"),
        _field("tokens_in", pa.int32(), "tokens of the prompt, as the server counts them"),
        _field("tokens_out", pa.int32(), "tokens of the generated answer"),
        _field("time_to_first_token_ms", pa.float64(), "from the question to the first piece of the answer, else NaN"),
        _field("tokens_per_second", pa.float64(), "speed after the first token, NaN when nothing was generated"),
        _field(
            "finish",
            pa.string(),
            "complete, length, error_frame, truncated, timed_out or cancelled; '' when nothing was generated",
        ),
        _field("citations_verified", pa.int32(), "citations whose text equals the pinned blob"),
        _field("citations_dropped", pa.int32(), "citations that did not, or named no snippet"),
        _field("confidence", pa.float64(), "0..1, NaN for a search"),
        _field("limits", pa.list_(pa.string()), "what was degraded or cut, in words"),
        _field("status", pa.string(), "ok, empty, error or cancelled"),
        _field("error", pa.string(), "slug of the error, '' when none"),
        _field("stopped_because", pa.string(), "last step that failed, timed out or was cancelled, with its reason"),
    ]
)

FEEDBACK = pa.schema(
    [
        _field("feedback_id", pa.string(), "id of this row, unique"),
        _field("given_at", _TIME, "when it was given"),
        _field("run_id", pa.string(), "the run it is about; joins traces; of a `read` its own"),
        _field("session_id", pa.string(), "the caller's session, '' when none"),
        _field("surface", pa.string(), "rest, mcp or cli"),
        _field("kind", pa.string(), "useful, wrong or opened; read: a file that a session read, written by the server"),
        _field("citation", pa.int32(), "number of the citation it is about, 0 for the whole answer"),
        _field("repo", pa.string(), "repository of the place that was opened or read, '' otherwise"),
        _field("path", pa.string(), "path of the place that was opened or read, '' otherwise"),
        _field("note", pa.string(), "what the caller wrote, '' when nothing"),
        _field(
            "sees",
            pa.list_(pa.string()),
            "globs of the repositories that the caller sees, where it was given on a machine that did not know the run "
            "and so checked nothing; else empty",
        ),
    ]
)
