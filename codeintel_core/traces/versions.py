"""Rows of older schemas as rows of today's: a column that was not there gets the default of its type.

Until version 2 a candidate had `dense_rank`, `dense_score`, `lexical_rank` and `lexical_score` in place of `channels`.
Version 4 added `fusion` and `tuning_id`, and feedback of the kind `read`; version 5 `machine`;
version 6 `sees`.
Daily files carry the version of their schema; journals do not, so their columns are read with every name they ever had.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from codeintel_core import schemas

_VERSION = b"codeintel.schema_version"
_SCALARS = {"string": "VARCHAR", "int32": "INTEGER", "int64": "BIGINT", "double": "DOUBLE", "bool": "BOOLEAN"}
_KEYS = frozenset({"trace_id", "feedback_id"})
_ONCE_COLUMNS = ("dense", "lexical")
"""Channels whose rank and score were fields of a candidate until version 2; no rank or 0 was "not found"."""
_DEFAULTS = {"string": "''", "int32": "0", "int64": "0", "double": "'NaN'::DOUBLE"}


def stamped(schema: pa.Schema) -> pa.Schema:
    """The schema with today's version, as a file carries it."""
    return schema.with_metadata({_VERSION: str(schemas.TRACE_SCHEMA_VERSION).encode()})


def is_old(path: Path) -> bool:
    """Whether a daily file was written under another version."""
    version = (pq.read_schema(path).metadata or {}).get(_VERSION, b"0")
    return int(version) != schemas.TRACE_SCHEMA_VERSION


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Rows of an older daily file in today's schema."""
    return pa.RecordBatch.from_pylist([completed(row, schema) for row in batch.to_pylist()], schema=schema)


def completed(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """A row with every column of the schema; other columns are left out."""
    found = {field.name: row.get(field.name) for field in schema}
    for field in schema:
        if found[field.name] is None and not field.nullable:
            found[field.name] = _default(field.type)
    if candidates := found.get("candidates"):
        found["candidates"] = [_with_channels(candidate) for candidate in candidates]
    return found


def _with_channels(candidate: Mapping[str, Any]) -> dict[str, Any]:
    if candidate.get("channels") is not None:
        return dict(candidate)
    old = {f"{name}_{field}" for name in _ONCE_COLUMNS for field in ("rank", "score")}
    ranks = [
        {"channel": name, "rank": candidate[f"{name}_rank"], "score": candidate.get(f"{name}_score")}
        for name in _ONCE_COLUMNS
        if candidate.get(f"{name}_rank")
    ]
    return {**{name: value for name, value in candidate.items() if name not in old}, "channels": ranks}


def _default(kind: pa.DataType) -> Any:
    if pa.types.is_string(kind):
        return ""
    if pa.types.is_integer(kind):
        return 0
    return float("nan") if pa.types.is_floating(kind) else []


def journaled_type(field: pa.Field) -> str:
    """The DuckDB type that a column of a journal is read as; it has the fields of every version."""
    kind = field.type
    if field.name == "candidates":
        old = [(f"{name}_rank", pa.int32()) for name in _ONCE_COLUMNS]
        old += [(f"{name}_score", pa.float64()) for name in _ONCE_COLUMNS]
        kind = pa.list_(pa.struct([*kind.value_type, *(pa.field(*one) for one in old)]))
    return _duckdb_type(kind)


def filled(field: pa.Field) -> str:
    """SQL of the column, with the default of its type where an old row lacks it; keys and times have none."""
    name = quoted(field.name)
    if field.name == "candidates":
        name = _upgraded_candidates(field)
    default = "[]" if pa.types.is_list(field.type) else _DEFAULTS.get(str(field.type))
    is_needed = field.nullable or default is None or field.name in _KEYS
    return name if is_needed else f"coalesce({name}, {default}) AS {quoted(field.name)}"


def _upgraded_candidates(field: pa.Field) -> str:
    """What `_with_channels` does, in SQL, so that a day of journals need not fit into Python's memory."""
    ranks = ", ".join(
        f"{{'channel': '{name}', 'rank': one.{name}_rank, 'score': one.{name}_score}}" for name in _ONCE_COLUMNS
    )
    channels = f"coalesce(one.channels, list_filter([{ranks}], lambda found: found.rank > 0))"
    fields = (
        f"{quoted(part.name)} := {channels if part.name == 'channels' else f'one.{quoted(part.name)}'}"
        for part in field.type.value_type
    )
    return f"list_transform({quoted(field.name)}, lambda one: struct_pack({', '.join(fields)}))"


def _duckdb_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_duckdb_type(kind.value_type)}[]"
    if pa.types.is_map(kind):
        return f"MAP({_duckdb_type(kind.key_type)}, {_duckdb_type(kind.item_type)})"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{quoted(field.name)} {_duckdb_type(field.type)}' for field in kind)})"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    return _SCALARS[str(kind)]


def quoted(name: str) -> str:
    """A name as SQL writes it, whatever its characters."""
    return '"' + name.replace('"', '""') + '"'
