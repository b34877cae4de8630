"""The deny list: files whose purpose is to hold credentials. Their names are listed, their content is never read."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import lru_cache

BUILT_IN = (
    ".env .env.* *.env .envrc !.env.example !.env.sample !.env.template !.env.dist !.env.defaults "
    "!example.env !sample.env id_rsa id_dsa id_ecdsa id_ecdsa_sk id_ed25519 id_ed25519_sk "
    "*.pem *.key *.ppk *.pfx *.p12 *.jks *.bks *.keystore *.kdb *.kdbx *.agekey *.ovpn secring.* wallet.dat "
    "*.tfstate *.tfstate.* .htpasswd .netrc _netrc .pgpass .pypirc .git-credentials .dockercfg .docker/config.json "
    ".s3cfg .boto .vault-token .kube/config kubeconfig kubeconfig.* .aws/credentials .cargo/credentials "
    ".cargo/credentials.toml .gem/credentials credentials credentials.json credentials.xml credentials.yml "
    "credentials.yaml credentials.ini service-account*.json service_account*.json client_secret*.json "
    "secrets.json secrets.yml secrets.yaml secrets.toml secrets.ini secrets.env .secrets"
)
"""Globs in the form of the setting `secret_files`."""


class DenyList:
    """The built-in globs and those of the setting `secret_files`; case does not count.

    A glob with a `/` is matched against the end of the path, one without against the file's name. `!glob` allows what
    another denies.
    """

    def __init__(self, configured: str = "") -> None:
        globs = [*BUILT_IN.split(), *re.split(r"[,\s]+", configured.strip())]
        self._denied = _pattern([glob for glob in globs if glob and not glob.startswith("!")])
        self._allowed = _pattern([glob[1:] for glob in globs if glob.startswith("!") and glob != "!"])

    def denies(self, path: str) -> bool:
        """Whether the file at `path` (`/`-separated, in the commit) is never read."""
        at = "/" + path.lower()
        return self._denied.fullmatch(at) is not None and self._allowed.fullmatch(at) is None


@lru_cache(maxsize=8)
def _list(configured: str) -> DenyList:
    return DenyList(configured)


def is_denied(path: str, configured: str = "") -> bool:
    """Whether `path` is on the deny list; `configured` is the setting `secret_files`."""
    return _list(configured).denies(path)


def _pattern(globs: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(rf"(?s:.*)/{fnmatch.translate(glob.lower().lstrip('/'))}" for glob in globs))
