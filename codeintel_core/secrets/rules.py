"""The rules: what a credential looks like. RE2 throughout, so no text of a repository can make them slow.

A rule has a hint, which the prefilter looks for, and a pattern whose group 1 is masked. Formats follow the issuers' own
documentation of their token prefixes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from codeintel_core.secrets.likeness import is_header_token, is_password, is_random, is_url_password


def _always(_: bytes) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of secret.

    Attributes:
        name: what it is.
        hint: RE2 pattern that any text with such a secret contains; cheap, may hit more.
        pattern: RE2 pattern over bytes; group 1 is the value.
        is_secret: a second look at the value, where the pattern alone would hit too much.
    """

    name: str
    hint: str
    pattern: str
    is_secret: Callable[[bytes], bool] = _always


_NAMES = (
    r"(?:passw(?:or)?d|passwd|pwd|passphrase|secret|token|api[_.-]?key|apikey|access[_.-]?key|auth[_.-]?key|"
    r"private[_.-]?key|secret[_.-]?key|encryption[_.-]?key|signing[_.-]?key|account[_.-]?key|credential)"
)
_NAME_HINT = (
    r"(?i)passw|passphrase|pwd|secret|token|(?:api|access|auth|private|encryption|signing|account)[_.-]?key|credential"
)
_ASSIGNED = r"""[\w.-]{0,40}\\?["'`]?\]?\s{0,8}(?::\s{0,8}[\w\[\]., |]{1,40}=|={1,3}|:=|=>|:)\s{0,8}"""
_QUOTED = r"""[rbuf]?\\?["'`]([!-&(-\[\]-_a-~]{8,}?)\\?["'`]"""
_LINE = r"""(?im)^[ \t]*(?:export[ \t]+|set[ \t]+|env[ \t]+|arg[ \t]+|-[ \t]+)?["']?[\w./:-]*"""
_BARE = r"[\w.-]{0,40}[\"']?[ \t]*[:=][ \t]*([A-Za-z0-9+/=_.~!@#%^&?-]{12,})[ \t]*,?\r?$"

RULES: tuple[Rule, ...] = (
    Rule("aws-access-key-id", r"A3T|ABIA|ACCA|AKIA|ASIA", r"\b((?:A3T[A-Z0-9]|ABIA|ACCA|AKIA|ASIA)[0-9A-Z]{16})\b"),
    Rule("github-token", r"gh[pousr]_|github_pat_", r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{22,})\b"),
    Rule("gitlab-token", r"gl[a-z]{2,6}-", r"\b(gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat|ffct)-[\w-]{20,})"),
    Rule("slack-token", r"xox|xapp-", r"\b(xox[abeoprs](?:\.xox[bp])?-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,})"),
    Rule("slack-webhook", r"hooks\.slack\.com", r"hooks\.slack\.com/(?:services|workflows)/([A-Za-z0-9+/]{30,})"),
    Rule("google-api-key", r"AIza", r"\b(AIza[0-9A-Za-z_-]{35})"),
    Rule("google-oauth", r"GOCSPX-|ya29\.", r"\b(GOCSPX-[\w-]{28}|ya29\.[\w-]{30,})"),
    Rule("stripe-key", r"[rs]k_(?:live|test)_|whsec_", r"\b([rs]k_(?:live|test)_\w{16,}|whsec_[\w+/=]{16,})"),
    Rule("jwt", r"eyJ", r"\b(eyJ[\w-]{10,}\.eyJ[\w-]{10,}(?:\.[\w-]{10,})?)"),
    Rule("openai-key", r"sk-", r"\b(sk-(?:proj|svcacct|admin|or-v1)-[\w-]{20,}|sk-[A-Za-z0-9]{32,})\b"),
    Rule("anthropic-key", r"sk-ant-", r"\b(sk-ant-[a-z]{3}\d\d-[\w-]{20,})"),
    Rule("hugging-face-token", r"hf_", r"\b(hf_[A-Za-z0-9]{30,})\b"),
    Rule("npm-token", r"npm_|_authToken", r"\b(npm_[A-Za-z0-9]{36})\b|_authToken=([!-~]{16,})"),
    Rule("pypi-token", r"pypi-A", r"\b(pypi-A[\w-]{50,})"),
    Rule("sendgrid-key", r"SG\.", r"\b(SG\.[\w-]{16,32}\.[\w-]{32,})"),
    Rule("twilio-key", r"SK[0-9a-f]{8}|AC[0-9a-f]{8}", r"\b((?:SK|AC)[0-9a-f]{32})\b"),
    Rule("discord-token", r"[MNO][\w-]{23}\.[\w-]{6}\.", r"\b([MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,})"),
    Rule("telegram-token", r"\d:AA", r"\b(\d{8,10}:AA[\w-]{33})\b"),
    Rule("azure-key", r"(?i)account_?key", r"(?i)account_?key[\"']?\s{0,4}[=:]\s{0,4}[\"']?([A-Za-z0-9+/]{86}==)"),
    Rule(
        "aws-secret-key", r"(?i)aws",
        r"(?i)aws[\w .-]{0,30}key[\"']?\s{0,4}(?:=>|[=:,])\s{0,4}[\"']?([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)",
    ),
    Rule("digitalocean-token", r"dop_v1_", r"\b(dop_v1_[0-9a-f]{64})"),
    Rule("shopify-token", r"shp(?:at|ca|pa|ss)_", r"\b(shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32})"),
    Rule("databricks-token", r"dapi[0-9a-f]{8}", r"\b(dapi[0-9a-f]{32})"),
    Rule("square-token", r"sq0", r"\b(sq0(?:csp|atp)-[\w-]{22,43})"),
    Rule("vault-token", r"hvs\.", r"\b(hvs\.[\w-]{24,})"),
    Rule("docker-token", r"dckr_pat_", r"\b(dckr_pat_[\w-]{27})"),
    Rule("age-key", r"AGE-SECRET", r"\b(AGE-SECRET-KEY-1[0-9A-Z]{58})"),
    Rule("mailchimp-key", r"-us\d", r"\b([0-9a-f]{32}-us\d{1,2})\b"),
    Rule(
        "authorization-header", r"(?i)authorization",
        r"""(?i)authorization\\?["'`]?\s{0,4}[:=,]\s{0,4}[bf]?\\?["'`]?(?:bearer|basic|token)\s{1,4}"""
        r"([A-Za-z0-9+/=._~-]{12,})", is_header_token,
    ),
    Rule(
        "url-password", r"://[^\s/@]*:[^\s/@]+@", r"""://[^\s/:@"'`<>\\?#]*:([^\s/@"'`<>\\]+)@[\w\[]""",
        is_url_password,
    ),
    Rule("password", _NAME_HINT, r"(?i)(?:passw(?:or)?d|passwd|pwd|passphrase)" + _ASSIGNED + _QUOTED, is_password),
    Rule("assigned-secret", _NAME_HINT, r"(?i)" + _NAMES + _ASSIGNED + _QUOTED, is_random),
    Rule("bare-secret", _NAME_HINT, _LINE + _NAMES + _BARE, is_random),
)  # fmt: skip

_PEM_BODY = r"""[A-Za-z0-9+/=\s\\"'`,:;.()*-]"""
PEM_HINT = r"PRIVATE KEY"
PEM = (
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(" + _PEM_BODY + r"*?)-----END ",
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----((?:[\s\\\"'`+,nr]{1,40}[A-Za-z0-9+/=]{32,})+)",  # no end
)
"""Private keys, whole and cut off; their groups are masked line by line."""
