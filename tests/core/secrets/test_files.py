"""The deny list names the files that hold credentials, and nothing that only sounds like them."""

from __future__ import annotations

import pytest

from codeintel_core.secrets import is_denied


@pytest.mark.parametrize(
    "path",
    ".env deploy/.env .env.production prod.env .envrc id_rsa home/.ssh/id_ed25519 tls/server.pem tls/SERVER.KEY a.p12 "
    "android/release.keystore x.jks x.kdbx .htpasswd .netrc .pgpass .git-credentials .aws/credentials credentials "
    "a/.docker/config.json infra/terraform.tfstate infra/terraform.tfstate.backup .kube/config secrets.yaml "
    "gcp/service-account-prod.json client_secret_123.json".split(),
)
def test_denied(path: str) -> None:
    assert is_denied(path)


@pytest.mark.parametrize(
    "path",
    ".env.example .env.sample src/env.py environment.yml id_rsa.pub docs/pem.md keys.py src/credentials.py "
    "config.json docker/config.json src/secrets.py secrets/__init__.py secret.py tokens.json key.go "
    ".github/workflows/ci.yml".split(),
)
def test_not_denied(path: str) -> None:
    assert not is_denied(path)


def test_the_setting_adds_and_allows() -> None:
    configured = "private/*, *.vault !testdata/*.pem"
    assert is_denied("private/notes.md", configured)
    assert is_denied("deep/private/notes.md", configured)
    assert is_denied("ansible/all.vault", configured)
    assert not is_denied("testdata/cert.pem", configured)
    assert is_denied("tls/cert.pem", configured)
    assert is_denied("x\nprivate/.env", configured)
