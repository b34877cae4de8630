"""Messages: what the program says of addresses, errors and answers that others gave it.

A mask too many costs nothing here, one too few a credential; so whatever looks like one goes, however short. RE2, so
that no endpoint's answer can make them slow.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

from codeintel_core.secrets.redaction import redact

_MASK = b"***"
_USER = r"(://)\S+(@)"  # up to the last @, for passwords that hold @ or / themselves
_RULES = (
    _USER,
    r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}()",
    r"()\b(?:sk|pk|rk|ci|ghp|gho|ghs|glpat|xox[abprs])[-_][\w-]{6,}()",
    r"()\b(?:AKIA|ASIA)[0-9A-Z]{16}\b()",
    r"(?s)()-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)()",
    r"""(?i)((?:^|[^\w-])(?:api[_-]?key|token|passw(?:or)?d|secret)["']?\s*[=:]\s*["']?)[^\s"',;&]{4,}()""",
    r"()\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}\b()",
)
"""The groups stay, what is between them does not."""


@lru_cache(maxsize=1)
def _compiled() -> tuple[Any, tuple[Any, ...]]:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    every = re2.Set.SearchSet(options)
    for rule in _RULES:
        every.Add(rule.encode())
    every.Compile()
    return every, tuple(re2.compile(rule.encode(), options) for rule in _RULES)


def without_users(text: str) -> str:
    """`text` without user and password in addresses, and otherwise as it is; for names and sources of repositories."""
    return _masked(text, [0]) if "://" in text else text


def without_secrets(text: str) -> str:
    """`text` with what looks like a key, token, password, private key or the user of an address as `***`."""
    hits = _compiled()[0].Match(text.encode("utf-8", "surrogatepass"))
    return redact(_masked(text, sorted(hits)) if hits else text)[0]


def _masked(text: str, rules: list[int]) -> str:
    data = text.encode("utf-8", "surrogatepass")
    for index in rules:
        data = _compiled()[1][index].sub(rb"\1" + _MASK + rb"\2", data)
    return str(data, "utf-8", "surrogatepass")
