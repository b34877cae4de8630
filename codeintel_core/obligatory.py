"""What is part of every match of a regular expression: texts without it need no look by RE2.

Only what stands for itself at the top level counts; at anything else that could change what a character means the
answer is that nothing is known.
"""

from __future__ import annotations

import re

_REPEAT = re.compile(r"\{\d+(?:,\d*)?\}|[*?+]")
_OTHER_GROUP = re.compile(r"\(\?(?!:|P<|<)")  # sets flags, such as another meaning of letters
_NO_CHARACTER = frozenset("dDwWsSbBAzaftnrv")  # after a backslash: classes, anchors, controls


def obligatory(pattern: str) -> str:
    """The longest text that each match of a valid RE2 pattern holds, '' when none is known. Case counts."""
    if "[:" in pattern or "\\Q" in pattern or _OTHER_GROUP.search(pattern):
        return ""
    runs, at, is_repeated = [""], 0, False
    while at < len(pattern):
        char = pattern[at]
        if repeat := _REPEAT.match(pattern, at):
            if is_repeated and char != "?":  # "?" behind a repetition makes it lazy
                return ""
            if char != "+" and not is_repeated:
                runs[-1] = runs[-1][:-1]  # it may be absent
            runs.append("")
            at, is_repeated = repeat.end(), True
            continue
        is_repeated = False
        if char == "|":
            return ""
        if char == "\\":
            escaped = pattern[at + 1]
            if escaped.isalnum() and escaped not in _NO_CHARACTER:  # `\x41`, `\pL`, `\123`
                return ""
            runs[-1:] = [runs[-1], ""] if escaped.isalnum() else [runs[-1] + escaped]
            at += 2
        elif char in ".^$":
            runs.append("")
            at += 1
        elif char in "([":
            runs.append("")
            at = _end(pattern, at)
        else:
            runs[-1] += char
            at += 1
    return max(runs, key=len)


def _end(pattern: str, at: int) -> int:
    """The position behind the group or class that begins here."""
    depth = 0
    while True:
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "[":
            at += 2 if pattern.startswith("^", at + 1) else 1
            at += pattern.startswith("]", at)  # right behind it, a bracket is a character
            while pattern[at] != "]":
                at += 1 + (pattern[at] == "\\")
        elif char in "()":
            depth += 1 if char == "(" else -1
        at += 1
        if depth == 0:
            return at
