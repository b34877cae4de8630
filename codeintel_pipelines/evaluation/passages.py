"""Documents without a path: passages of unknown language, each one chunk, outlined by the grammar that fits best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codeintel_core.chunking import Chunk, TokenCounter, chunk_file
from codeintel_core.chunking.languages import LANGUAGES, grammar_of

if TYPE_CHECKING:
    import tree_sitter

_EXTENSIONS = {
    "python": "py", "javascript": "js", "typescript": "ts", "java": "java", "go": "go", "rust": "rs", "c": "c",
    "cpp": "cpp", "csharp": "cs", "ruby": "rb", "kotlin": "kt", "php": "php",
}  # fmt: skip
_MAX_ERROR_SHARE = 0.2


def passage(repo: str, number: int, text: str, tokens: TokenCounter, max_tokens: int, max_bytes: int) -> Chunk | None:
    """The whole text as one chunk that bears the symbol of its first definition; None when there is no text."""
    data = text.encode("utf-8", "replace")
    path = f"{number}.{guessed_extension(data)}"
    found = chunk_file(repo, path, "0" * 40, data, tokens, max_tokens, max_bytes)
    if not found.chunks:
        return None
    first = next((chunk for chunk in found.chunks if chunk.symbol), found.chunks[0])
    return first._replace(text=text, start_byte=0, end_byte=len(data), start_line=1, part=0, parts=1)


def guessed_extension(data: bytes) -> str:
    """Extension of the language whose grammar reads the text with the least error, or `txt`."""
    import tree_sitter

    best, least = "txt", _MAX_ERROR_SHARE
    for name, extension in _EXTENSIONS.items():
        if name == "php" and b"<?" not in data:
            continue  # without its tag, all text is valid PHP
        tree = tree_sitter.Parser(grammar_of(LANGUAGES[name].grammar).language).parse(data)
        share = _error_bytes(tree.root_node) / max(1, len(data))
        if share < least:
            best, least = extension, share
        if share == 0:
            break
    return best


def _error_bytes(root: tree_sitter.Node) -> int:
    total, pending = 0, [root]
    while pending:
        node = pending.pop()
        if node.is_error or node.is_missing:
            total += max(1, node.end_byte - node.start_byte)
        elif node.has_error:
            pending.extend(node.children)
    return total
