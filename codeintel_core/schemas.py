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
        _field("text", pa.string(), "exact text of the span"),
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
