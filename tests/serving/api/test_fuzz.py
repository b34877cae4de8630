"""Requests made from the OpenAPI document, valid and not: none ends in a 500, every refusal is a problem, and status,
type and schema of every answer are documented.

A few hundred cases here; `make fuzz` asks for 5,000 (CODEINTEL_FUZZ_CASES).
"""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3_600)]
load_all_checks()
CONFORMANCE = CHECKS.get_by_names(
    ["status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
# The environment of a test is cleaned of our variables before it runs, so this is read at import.
CASES = int(os.environ.get("CODEINTEL_FUZZ_CASES", "200"))


def test_no_case_ends_in_a_500(base_url: str) -> None:
    document = schemathesis.openapi.from_url(f"{base_url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert {operation.path for operation in operations} >= {"/search", "/answer", "/scope", "/read"}
    tried: set[tuple[str, int]] = set()

    @settings(
        max_examples=CASES,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
    @given(
        st.one_of(*(operation.as_strategy(generation_mode=mode) for operation in operations for mode in GenerationMode))
    )
    def holds(case: Any) -> None:
        response = case.call(timeout=120)
        tried.add((case.operation.path, response.status_code))
        case.validate_response(response, checks=CONFORMANCE)
        assert response.status_code not in (500, 501, 502), response.text
        if response.status_code >= 400:
            assert response.headers["content-type"] == ["application/problem+json"], response.headers
            assert response.json()["status"] == response.status_code

    holds()
    assert {status for _, status in tried} >= {200, 422}, "both sides of the line were tried"
