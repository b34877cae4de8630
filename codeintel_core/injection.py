"""Text in files that speaks to a language model: orders, false roles, false citations and ends of quotations.

Whatever it says, it is data; the signs only tell people and models to look twice. They are RE2 patterns over the text
as a model would read it: characters that do not show are taken out, look-alikes are folded, and marks of comments and
line breaks count as blanks. Sources: OWASP LLM01:2025; the chat templates of ChatML, Llama, Mistral and Gemma.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

_GAP = r"[\s#*/>\"'`|;_-]+"
_SHORT = r"(?:[\w,-]+" + _GAP + r"){0,4}?"  # a few words
_MODEL = (
    r"(?:AIs?|LLMs?|(?:large )?language models?|chat ?bots?|GPT|ChatGPT|Claude|Copilot|Gemini"
    r"|(?:AI|coding|code) (?:assistants?|agents?|models?))"
)
_ORDERS = r"(?:instructions?|prompts?|rules|guidelines|directives|orders|commands|directions)"
_TAGS = "\U000e0000-\U000e007f"
_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb" + _TAGS
_UNSEEN, _HIDING = re.compile(f"[{_INVISIBLE}]"), re.compile(f"[{_TAGS}]|[{_INVISIBLE}]{{4}}")
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")  # of England, Scotland and Wales


@dataclass(frozen=True, slots=True)
class Sign:
    """One way in which a text speaks to a model.

    Attributes:
        says: what it does, in words that follow "it".
        pattern: RE2, over the text with blanks for what separates words.
    """

    says: str
    pattern: str


_ADDRESSED = r"\b(?:must|should|please|always|never|do not|reply|respond|answer|say|tell|ignore|output|reading|read)\b"
_LINE = r"(?:^|\n)[\s#*/>\"'`-]*"

SIGNS: tuple[Sign, ...] = (
    Sign(
        "asks to drop instructions",
        r"(?i)\b(?:ignore|disregard|forget|override|bypass|(?:do not|don't|stop) follow(?:ing)?)\b"
        + _GAP
        + _SHORT
        + r"(?:previous|prior|above|earlier|preceding|foregoing|initial|original|system|existing|your|other|all)\b"
        + _GAP
        + _SHORT
        + _ORDERS
        + r"\b"
        r"|\b(?:ignore|disregard|forget) (?:everything|anything|all)(?: of)?"
        r"(?: (?:that|you|was|were|has|been|told|said|I))* (?:above|before|previously|so far|earlier)\b",
    ),
    Sign(
        "gives a model a role or new instructions",
        r"(?i)\b(?:from now on,? you|you must now|you are now (?:an?|DAN|free|no longer|unrestricted)\b"
        r"|pretend (?:to be|that you are) (?:an?|the) (?:\w+ ){0,2}"
        + _MODEL
        + r"|act as (?:if you (?:are|were) )?(?:an? |the )?(?:\w+ ){0,2}(?:unrestricted|jailbroken|"
        + _MODEL
        + r")|(?:enter|enable|activate) (?:developer|god|jailbreak|DAN) mode"
        r"|(?:your )?(?:new|updated|real|actual) (?:system )?" + _ORDERS + r"(?: (?:are|is|for you|follow))?\s?:)",
    ),
    Sign(
        "addresses a model",
        r"(?i)\b(?:dear|hey|hello|attention|important|note|message|instructions?|reminder|warning)(?:,| for| to|:)?"
        r"(?: (?:all|any|the|every))? "
        + _MODEL
        + r"\b[^.\n]{0,80}"
        + _ADDRESSED
        + r"|\bif you are (?:an?|the) (?:\w+ )?"
        + _MODEL
        + r"\b|\bas an AI(?: language model)?, you\b|\b"
        + _MODEL
        + r" (?:that |who )?(?:is |are )?(?:reading|processing|summari[sz]ing|reviewing|analy[sz]ing|indexing) this\b",
    ),
    Sign(
        "asks for hidden instructions or secrets",
        r"(?i)\b(?:reveal|print|repeat|show|output|display|leak|disclose|recite|tell me|send)\b(?: me| us)?"
        r"(?: the| your| all| any)* (?:(?:full|exact|entire|complete|hidden|secret|internal|initial|original) )*"
        r"(?:system (?:prompt|message|instructions)|(?:hidden|initial|secret|original) (?:prompt|instructions)"
        r"|(?:api |secret |access )?(?:keys?|tokens?|credentials|secrets) (?:you (?:know|have|see|were given)"
        r"|from (?:the|your) (?:context|environment|conversation)))",
    ),
    Sign(
        "orders what the answer says",
        r"(?i)\b(?:in your (?:answer|reply|response)|your (?:answer|reply|response) (?:must|should)"
        r"|when (?:you are asked|you answer|answering|summari[sz]ing this))\b,?[^.\n]{0,60}"
        r"\b(?:say|state|include|mention|recommend|claim|cite|tell|contain|end with|begin with)\b",
    ),
    Sign(
        "imitates the turns of a chat",
        r"(?i)<\|(?:im_start|im_end|(?:start|end)_header_id|eot_id|system|user|assistant|endoftext|end_of_turn)\|>"
        r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|</?system[_-]prompt>"
        r"|<system>\s*(?:you|your|ignore|always|never|important)\b"
        r"|" + _LINE + r"(?:system|assistant|developer) ?(?:prompt|message|instructions?|override)?\s?:[\s*]*"
        r"(?:you are|you must|ignore|always|never|respond|reply)\b",
    ),
    Sign(
        "imitates a citation or the end of a quotation",
        r"(?i)={3,} [0-9a-f]{8,} (?:snippet|end of) \[\d+\]"
        r"|" + _LINE + r"[=~<*-]{3,}[ \w]{0,40}\b(?:end|begin|start)(?: of)?(?: the)? (?:snippets?|quot\w+|context"
        r"|retrieved \w+|user (?:input|question|query)|search results?|sources?|\[\d+\])"
        r"|\bend of (?:the )?(?:untrusted|retrieved|quoted) (?:text|data|content|context|input|snippets?)\b"
        r"|" + _LINE + r"(?:citation|source|snippet|reference) ?\[\d{1,3}\] ?(?:\(?verified\)?|:)"
        r"|</(?:snippet|context|document|untrusted|retrieved)>\s*(?:question|user|system|instructions?)\s?:",
    ),
    Sign("hides characters that a model reads and people do not see", ""),
)
"""Every sign. One without a pattern is found by `_is_hiding`."""


def signs(text: str) -> tuple[str, ...]:
    """What of `SIGNS` a text has, in their order and words; () for nearly all. Never raises."""
    return _kept(text) if len(text) <= _MOST_KEPT_CHARS else _signs(text)


def _signs(text: str) -> tuple[str, ...]:
    found = sorted(_compiled().Match(_read(text).encode("utf-8", "replace")) or [])
    if _is_hiding(text):
        found.append(len(SIGNS) - 1)
    return tuple(SIGNS[at].says for at in found)


_kept = lru_cache(maxsize=4_000)(_signs)
_MOST_KEPT_CHARS = 10_000  # a chunk; longer ones, as whole files, would stay in memory


@lru_cache(maxsize=1)
def _compiled() -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 64 << 20
    found = re2.Set.SearchSet(options)
    for sign in SIGNS[:-1]:
        found.Add(sign.pattern)
    found.Compile()
    return found


def _read(text: str) -> str:
    """The text as a model reads it."""
    return text if text.isascii() else _UNSEEN.sub("", unicodedata.normalize("NFKC", text))


def _is_hiding(text: str) -> bool:
    """Whether it has letters of Unicode's invisible tag block, or long runs of other characters that do not show."""
    return not text.isascii() and _HIDING.search(_FLAG.sub("", text)) is not None
