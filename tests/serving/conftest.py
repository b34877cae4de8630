"""Real parts for the serving tests: an encoder, a built repository, services over it, and an HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from running import running
from tenants import Tenant, two_tenants
from workshop import FILES, Workshop, new_repository, settings_for

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.repository import mirror
from codeintel_serving.services import Services


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> LocalEncoder:
    """The real embedded model, exported once for all tests."""
    return LocalEncoder(tmp_path_factory.mktemp("models"), "int8", threads=1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real git repository."""
    return new_repository(tmp_path_factory.mktemp("sources") / "shop", FILES)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder, source: Path) -> Workshop:
    """A home in which `shop` is registered and built once."""
    built = Workshop(Home(tmp_path_factory.mktemp("home")), encoder)
    mirror.add(built.home, str(source), name="shop")
    built.build("shop")
    return built


@pytest.fixture(scope="module")
def services(workshop: Workshop) -> Iterator[Services]:
    """Services over the workshop's home, warmed, watching for new generations."""
    with Services(settings_for(workshop.home), encoder=lambda: workshop.encoder) as wired:
        wired.start()
        yield wired


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, encoder: LocalEncoder) -> Workshop:
    """A home that two tenants share."""
    return Workshop(Home(tmp_path_factory.mktemp("home")), encoder)


@pytest.fixture(scope="module")
def tenants(shared: Workshop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tenant, Tenant]:
    """Both tenants, their repositories built."""
    return two_tenants(shared, tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="module")
def tenant_services(shared: Workshop, tenants: tuple[Tenant, Tenant]) -> Iterator[Services]:
    """Services over the tenants' home; a module whose `services` they are has them behind `base_url` and `http`."""
    with Services(settings_for(shared.home), encoder=lambda: shared.encoder) as wired:
        wired.start()
        yield wired


@pytest.fixture(scope="module")
def base_url(services: Services) -> Iterator[str]:
    """A running server over `services`."""
    with running(services) as url:
        yield url


@pytest.fixture
def http(base_url: str) -> Iterator[httpx.Client]:
    """A client of the running server."""
    with httpx.Client(base_url=base_url, timeout=60) as client:
        yield client
