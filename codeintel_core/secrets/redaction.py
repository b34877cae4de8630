"""Masking: every value that a rule finds becomes `*`, byte for byte, with its line breaks left where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson
import re2

from codeintel_core.secrets.rules import PEM, PEM_HINT, RULES, Rule

SECRETS_VERSION = 2
"""Raised whenever the same text would be masked differently."""

MASK = "*"
"""What stands for each byte that is masked."""
_MASK = ord(MASK)
_MIN_BYTES = 11
_KEY_TEXT = re.compile(rb"\\[nrt]|[A-Za-z0-9+/=]{2,}")


class _Compiled(NamedTuple):
    hints: Any  # re2.Set; its index n is that of rules[n], the last one that of private keys
    rules: tuple[tuple[Rule, Any], ...]
    keys: tuple[Any, ...]


@lru_cache(maxsize=1)
def _compiled() -> _Compiled:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 64 << 20
    options.log_errors = False
    hints = re2.Set.SearchSet(options)
    for rule in RULES:
        hints.Add(rule.hint.encode())
    hints.Add(PEM_HINT.encode())
    hints.Compile()
    rules = tuple((rule, re2.compile(rule.pattern.encode(), options)) for rule in RULES)
    return _Compiled(hints, rules, tuple(re2.compile(pattern.encode(), options) for pattern in PEM))


def redact(text: str) -> tuple[str, int]:
    """`text` with secrets masked, and how many; same length, same lines. Never raises."""
    if len(text) < _MIN_BYTES:
        return text, 0
    masked, count = redact_bytes(text.encode("utf-8", "surrogatepass"))
    return (masked.decode("utf-8", "surrogatepass"), count) if count else (text, 0)


def redact_bytes(data: bytes, also: Sequence[tuple[int, int]] = ()) -> tuple[bytes, int]:
    """The content of a file, in any encoding that extends ASCII, with secrets masked, and how many.

    Args:
        data: as it is: another mask may hide the name or the form that tells a secret.
        also: spans of `data` that are masked as well, such as those of `PurgeList.spans`; each counts as one.
    """
    shown, count = _redacted(data)
    return mask_spans(shown, also), count + len(also)


def mask_spans(data: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    """`data` with the bytes of the spans (start, end) as `*`, line breaks kept."""
    if not spans:
        return data
    out = bytearray(data)
    for start, end in spans:
        out[start:end] = b"\n".join(bytes([_MASK]) * len(line) for line in bytes(out[start:end]).split(b"\n"))
    return bytes(out)


def _redacted(data: bytes) -> tuple[bytes, int]:
    compiled = _compiled()
    hits = compiled.hints.Match(data) if len(data) >= _MIN_BYTES else None
    if not hits:
        return data, 0
    spans: set[tuple[int, int]] = set()
    for index in sorted(hits):
        if index < len(compiled.rules):
            rule, pattern = compiled.rules[index]
            spans.update(_values(rule, pattern, data))
    keys = _private_keys(data, compiled) if len(compiled.rules) in hits else []
    return _masked(data, _merged(spans), keys) if spans or keys else (data, 0)


def redact_values(value: Any) -> Any:
    """A JSON value with every string in it redacted, keys left alone."""
    if isinstance(value, str):
        return redact(value)[0]
    if isinstance(value, dict):
        return {key: redact_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact_values(item) for item in value]
    return value


def redacted_json(row: Mapping[str, Any], option: int = 0, clean: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """A row as JSON with every string in its values redacted; `option` is that of orjson.

    Looks at all values at once, then at those of one field, and at each only where something in them hints at a secret.
    Raises what orjson raises.

    Args:
        row: what is written.
        option: of orjson.
        clean: further fields whose strings are redacted already, also as an `orjson.Fragment` of what `redacted_value`
            gave: nobody looks at them again.
    """
    if row and _hints_at_secret(list(row.values()), option):
        row = {
            name: redact_values(value) if isinstance(value, str) or _hints_at_secret(value, option) else value
            for name, value in row.items()
        }
    return orjson.dumps({**row, **clean}, option=option)


def redacted_value(value: Any) -> bytes:
    """A value as JSON with every string in it redacted, for `redacted_json` of many rows. Raises what orjson raises."""
    found = orjson.dumps(value)
    return orjson.dumps(redact_values(value)) if _compiled().hints.Match(found) else found


def _hints_at_secret(value: Any, option: int = 0) -> bool:
    """Whether any string in a JSON value may hold a secret: quoting adds characters and takes none, so hints stay."""
    return bool(_compiled().hints.Match(orjson.dumps(value, option=option)))


def _values(rule: Rule, pattern: Any, data: bytes) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(data):
        start, end = next(span for span in map(match.span, range(1, pattern.groups + 1)) if span[0] >= 0)
        value = data[start:end]
        if value.strip(b"*") and rule.is_secret(value):
            yield start, end


def _private_keys(data: bytes, compiled: _Compiled) -> list[tuple[int, int]]:
    whole = [match.span(1) for match in compiled.keys[0].finditer(data)]
    starts = {start for start, _ in whole}
    cut_off = [match.span(1) for match in compiled.keys[1].finditer(data) if match.span(1)[0] not in starts]
    return [(start, end) for start, end in whole + cut_off if _KEY_TEXT.search(data, start, end)]


def _merged(spans: set[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _masked(data: bytes, values: list[tuple[int, int]], keys: list[tuple[int, int]]) -> tuple[bytes, int]:
    out = bytearray(data)
    for start, end in values:
        out[start:end] = bytes([_MASK]) * (end - start)
    count = len(values)
    for start, end in keys:
        before = out[start:end]
        out[start:end] = _KEY_TEXT.sub(lambda m: m[0] if m[0][:1] == b"\\" else bytes([_MASK]) * len(m[0]), before)
        count += out[start:end] != before
    return bytes(out), count
