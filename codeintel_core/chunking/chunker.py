"""One file in, its row, chunks and symbols out: the only entrance to chunking."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from codeintel_core.chunking.classes import class_of
from codeintel_core.chunking.languages import Language, language_of
from codeintel_core.chunking.layout import Piece, pieces_of
from codeintel_core.chunking.lines import Lines
from codeintel_core.chunking.outline import CLASSES, Outline
from codeintel_core.chunking.rows import Chunk, FileChunks, FileRow, Symbols
from codeintel_core.chunking.spans import outline_of
from codeintel_core.chunking.symbols import symbols_of
from codeintel_core.chunking.tokens import TokenCounter
from codeintel_core.identity import chunk_id
from codeintel_core.secrets import redact_bytes

CHUNKER_VERSION = 2
"""Raised whenever the same file would give other chunks or symbols."""

_BINARY_PEEK_BYTES = 8_000
_MAX_MINIFIED_BYTES = 200_000
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_KINDS = dict.fromkeys((*CLASSES, "type"), "class") | {"macro": "function", "key": "block"}


def chunk_file(
    repo: str, path: str, blob: str, data: bytes, tokens: TokenCounter, max_tokens: int, max_file_bytes: int,
    purged: Sequence[tuple[int, int]] = (),
) -> FileChunks:  # fmt: skip
    """Chunks and symbols of one file; a file that is not indexed comes back with its `skip_reason`.

    Any bytes are accepted and nothing is raised for their content: what the grammar cannot read is cut by lines.
    Secrets and the `purged` spans of `data` are masked before it is cut, byte for byte, so spans are those of the blob.
    """
    language = language_of(path, data[:_BINARY_PEEK_BYTES])
    file_class = class_of(path, language, data[:max_file_bytes])
    if reason := _skip_reason(data, file_class, max_file_bytes):
        return _skipped(path, blob, len(data), language.name, file_class, reason)
    data, redactions = redact_bytes(data, purged)
    encoding = _encoding(data)
    lines = Lines(data, encoding, tokens)
    outline, pieces = _cut(language, data, lines, max_tokens)
    row = FileRow(path, blob, len(data), language.name, file_class, encoding, lines.count, len(pieces), "", redactions)
    chunks = _chunks(repo, row, language, pieces, lines, outline)
    return FileChunks(row, chunks, symbols_of(repo, row, outline, chunks))


def skipped_file(path: str, blob: str, size: int, reason: str) -> FileChunks:
    """A file whose content the caller did not read: a symlink, a submodule, a blob too large to fetch."""
    language = language_of(path, b"")
    return _skipped(path, blob, size, language.name, class_of(path, language, b""), reason)


def _skipped(path: str, blob: str, size: int, language: str, file_class: str, reason: str) -> FileChunks:
    return FileChunks(
        FileRow(path, blob, size, language, file_class, "", 0, 0, reason), [], Symbols("", path, blob, language)
    )


def _skip_reason(data: bytes, file_class: str, max_file_bytes: int) -> str:
    rules = (
        ("too_large", len(data) > max_file_bytes),
        ("git_lfs_pointer", data.startswith(_LFS_POINTER) and len(data) < 1_024),
        ("binary", b"\0" in data[:_BINARY_PEEK_BYTES]),
        ("empty", not data.removeprefix(b"\xef\xbb\xbf").strip()),
        ("minified", file_class == "minified" and len(data) >= _MAX_MINIFIED_BYTES),
    )
    return next((reason for reason, holds in rules if holds), "")


def _encoding(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _cut(language: Language, data: bytes, lines: Lines, max_tokens: int) -> tuple[Outline | None, list[Piece]]:
    try:
        outline = outline_of(language, data)
        return outline, pieces_of(lines, outline, max_tokens)
    except Exception:  # a grammar's surprise must not cost the file: it is cut by lines and stays searchable
        return None, pieces_of(lines, None, max_tokens)


def _chunks(
    repo: str, row: FileRow, language: Language, pieces: list[Piece], lines: Lines, outline: Outline | None
) -> list[Chunk]:
    parts = Counter(id(piece.owner) for piece in pieces if piece.owner and not piece.is_merged)
    seen_parts: Counter[int] = Counter()
    seen_texts: Counter[str] = Counter()
    chunks: list[Chunk] = []
    for piece in pieces:
        start, end = lines.span(piece.first, piece.last)
        text = lines.data[start:end].decode(row.encoding)
        owner, part, total = piece.owner, 0, 1
        if owner is not None and not piece.is_merged:
            part, total = seen_parts[id(owner)], parts[id(owner)]
            seen_parts[id(owner)] += 1
        chunks.append(
            Chunk(
                chunk_id=chunk_id(repo, row.path, text, seen_texts[text]),
                repo=repo,
                path=row.path,
                blob=row.blob,
                language=row.language,
                file_class=row.file_class,
                encoding=row.encoding,
                kind=_kind(piece, language, outline),
                symbol=owner.symbol if owner else "",
                name=owner.name if owner else "",
                signature=owner.signature if owner else "",
                docstring=owner.docstring if owner else "",
                imports=outline.imports if outline else "",
                start_line=piece.first + 1,
                end_line=piece.last + 1,
                start_byte=start,
                end_byte=end,
                part=part,
                parts=total,
                tokens=lines.tokens(piece.first, piece.last),
                text=text,
            )
        )
        seen_texts[text] += 1
    return chunks


def _kind(piece: Piece, language: Language, outline: Outline | None) -> str:
    if outline is None:
        return "lines"
    if piece.is_merged:
        return "block"
    if piece.owner is not None:
        return _KINDS.get(piece.owner.kind, piece.owner.kind)
    return "block" if language.data else "module"
