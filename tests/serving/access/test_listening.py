"""Without access control the server binds loopback addresses only, and says why it cannot bind."""

from __future__ import annotations

import pytest

from codeintel_core.errors import InvalidRequest
from codeintel_serving.access.listening import listen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "example.org", ""])
def test_other_addresses_are_refused(host: str) -> None:
    with pytest.raises(InvalidRequest, match="no API keys"):
        listen(host, 0)


def test_a_port_in_use_names_the_fix() -> None:
    with listen("127.0.0.1", 0) as first, pytest.raises(InvalidRequest, match="--port"):
        listen("localhost", first.getsockname()[1])


def test_with_keys_any_address_may_be_bound() -> None:
    with listen("0.0.0.0", 0, has_keys=True) as listener:
        assert listener.getsockname()[1] > 0


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(InvalidRequest, match="cannot listen"):
        listen("nowhere.invalid", 0, has_keys=True)
