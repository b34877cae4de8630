"""Secrets that were never valid, put together here so that no scanner takes this file for a leak."""

from __future__ import annotations

import base64
import random
import string

_ALNUM = string.ascii_letters + string.digits


def text(seed: int, length: int, alphabet: str = _ALNUM) -> str:
    """A random text with at least two digits, the same for the same seed."""
    rng = random.Random(seed)
    return "".join(rng.choices(alphabet, k=length - 3)) + "7a9"


def _b64(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def private_key(kind: str = "RSA ", lines: int = 6) -> str:
    """A PEM block that holds no key."""
    body = "\n".join(text(50 + line, 64, _ALNUM + "+/") for line in range(lines)) + "\nq8E="
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


HEX = "0123456789abcdef"
PASSWORD = "tr0ub4dor" + "&3Qz"
TOKENS: dict[str, str] = {
    "aws-access-key-id": "AKIA" + text(1, 16, string.ascii_uppercase).upper(),
    "github": "ghp" + "_" + text(2, 36),
    "github-fine-grained": "github" + "_pat_" + text(3, 22) + "_" + text(4, 59),
    "gitlab": "glpat" + "-" + text(5, 20),
    "slack": "xoxb" + "-123456789012-123456789012-" + text(6, 24),
    "google": "AIza" + text(7, 35),
    "stripe": "sk" + "_live_" + text(8, 24),
    "jwt": ".".join((_b64('{"alg":"HS256","typ":"JWT"}'), _b64('{"sub":"1234567890","name":"Ada"}'), text(9, 43))),
    "openai": "sk" + "-" + text(10, 20) + "T3Blbk" + "FJ" + text(11, 20),
    "openai-project": "sk" + "-proj-" + text(12, 48),
    "anthropic": "sk" + "-ant-api03-" + text(13, 80),
    "hugging-face": "hf" + "_" + text(14, 34),
    "npm": "npm" + "_" + text(15, 36),
    "pypi": "pypi" + "-AgEIcHlwaS5vcmc" + text(16, 80),
    "sendgrid": "SG" + "." + text(17, 22) + "." + text(18, 43),
    "twilio": "SK" + text(19, 32, HEX),
    "discord": "MT" + text(20, 22) + "." + text(21, 6) + "." + text(22, 27),
    "telegram": "110201543" + ":AA" + text(23, 33),
    "digitalocean": "dop" + "_v1_" + text(24, 64, HEX),
    "mailchimp": text(25, 32, HEX) + "-us10",
}
"""One of each format that says by itself what it is."""

LINES: dict[str, tuple[str, str]] = {
    "python": ("DB_PASSWORD = '{}'", PASSWORD),
    "javascript": ("const clientSecret = `{}`;", text(30, 32)),
    "json": ('  "api_key": "{}",', text(31, 32)),
    "json in a string": (r'"{{\"auth_token\": \"{}\"}}"', text(32, 32)),
    "typed": ('token: str = "{}"', text(33, 24)),
    "go": ('signingKey := "{}"', text(34, 40)),
    "java": ('private static final String SECRET = "{}";', text(35, 24)),
    "ruby": ("config[:secret_key] => '{}'", text(36, 40, HEX)),
    "yaml": ("secret_key: {}", text(37, 32)),
    "env": ("export STRIPE_SECRET={}", text(38, 32)),
    "properties": ("spring.datasource.password={}", text(39, 16)),
    "aws": ("aws_secret_access_key = {}", text(40, 40, _ALNUM + "/+")),
    "azure": ("AccountKey={};", text(41, 86, _ALNUM + "+/") + "=="),
    "url": ("postgres://app:{}@db.internal:5432/app", text(42, 12)),
    "url with marks": ("redis://:{}@cache:6379", "p%40ss" + text(43, 8)),
    "bearer": ('"Authorization": "Bearer {}"', text(44, 40)),
    "slack webhook": ("https://hooks.slack.com/services/{}", "T01234567/B01234567/" + text(45, 24)),
    "npmrc": ("//registry.npmjs.org/:_authToken={}", text(46, 36)),
}
"""Lines in which the place says that the value is a secret."""

HARMLESS = """\
password = getpass.getpass("Password: ")
PASSWORD = "password"
password: "changeme"
password_field = "password_confirmation"
"password": "Enter your new password here"
secret_key = os.environ["SECRET_KEY_2"]
token = "<your-token-here>"
token = "${GITHUB_TOKEN}"
api_key = "YOUR_API_KEY_HERE"
api_key: {{ secrets.api_key }}
TOKEN_URL = "https://example.org/oauth/token"
access_token_lifetime = "2026-01-02"
private_key_path = "/etc/ssl/private/server1.key"
tokenize_expression = "core.chunking.tokens.v2"
token_type = "oauth2-access-token-v2"
secret = config.get_secret(name="database-1")
git clone https://user:password@example.org/x.git
ssh://git@github.com:22/owner/repository.git
commit = "da39a3ee5e6b4b0d3255bfef95601890afd80709"
integrity = "sha512-oRGY4mCWn5vSMmFz1s9KfmHNwVh3KJfd4yD2hJW3wGk1rKQ=="
def test_password_is_redacted(token): assert authenticate(token) == 401
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7
-----END PUBLIC KEY-----
The line `-----BEGIN PRIVATE KEY-----` starts a key.
"""
"""Lines that look like secrets to a careless rule and must stay searchable."""
