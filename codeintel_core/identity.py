"""Identity: what makes two chunks, two texts or two generations the same.

All hashes are BLAKE2b over length-prefixed fields, so no two different field lists share an encoding.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime


def _digest(fields: Iterable[str], size: int) -> bytes:
    encoded = [field.encode("utf-8", "surrogatepass") for field in fields]
    prefixed = b"".join([part for data in encoded for part in (len(data).to_bytes(8, "little"), data)])
    return hashlib.blake2b(prefixed, digest_size=size).digest()


def chunk_id(repository: str, path: str, text: str, ordinal: int) -> int:
    """63-bit id of a chunk: (repository, path, text, ordinal among equal texts in that path).

    Line numbers are not part of it: editing one function changes one id, not the ids of its file.
    """
    return int.from_bytes(_digest((repository, path, text, str(ordinal)), 8), "little") >> 1


def name_key(name: str) -> int:
    """63-bit key of a name, to be looked up by; other names may share it."""
    return int.from_bytes(_digest((name,), 8), "little") >> 1


def text_key(contract_id: str, embedded_text: str) -> str:
    """Key of the vector cache (32 hex digits): the same text under the same contract is embedded once."""
    return _digest((contract_id, embedded_text), 16).hex()


def contract_id(fields: Iterable[str]) -> str:
    """Id of an embedding contract (16 hex digits) from its ordered field values."""
    return _digest(fields, 8).hex()


def fields_id(*fields: str) -> str:
    """Id (16 hex digits) of anything told apart by an ordered list of texts."""
    return _digest(fields, 8).hex()


def row_key(*fields: str) -> int:
    """64-bit key (signed) of a row of an external vector engine, by everything that it holds."""
    return int.from_bytes(_digest(fields, 8), "little", signed=True)


def new_gen_id(created_at: datetime, commit: str) -> str:
    """A new generation id: sorts by time, names the commit, never repeats."""
    return f"{created_at:%Y%m%dt%H%M%S%f}-{commit[:10]}-{secrets.token_hex(2)}"
