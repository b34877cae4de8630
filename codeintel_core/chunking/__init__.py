"""Chunking: a file's bytes in, spans that are worth searching and citing out."""

from codeintel_core.chunking.chunker import CHUNKER_VERSION, chunk_file, skipped_file
from codeintel_core.chunking.rows import (
    Chunk,
    FileChunks,
    FileRow,
    Symbols,
    chunks_table,
    files_table,
    symbols_table,
)
from codeintel_core.chunking.tokens import TokenCounter, WordPieceCounter, default_tokenizer

__all__ = [
    "CHUNKER_VERSION",
    "Chunk",
    "FileChunks",
    "FileRow",
    "Symbols",
    "TokenCounter",
    "WordPieceCounter",
    "chunk_file",
    "chunks_table",
    "default_tokenizer",
    "files_table",
    "skipped_file",
    "symbols_table",
]
