"""What an upstream calls a request, wherever its head says so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from perquery.outbound import Response
from perquery.providers.replies import request_id_in

NONE: Any = SimpleNamespace(future=lambda: None)  # of the connection, all that a head needs


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-request-id": "req_1", "request-id": "other"}, "req_1"),
        ({"request-id": "req_2"}, "req_2"),
        ({"x-request-id": "", "x-generation-id": "gen-3"}, "gen-3"),
        ({"x-goog-request-id": "g"}, "g"),
        ({"content-type": "text/plain"}, None),
    ],
)
def test_request_id(headers: dict[str, str], expected: str | None) -> None:
    response = Response(NONE)
    response._fields += [(name.encode(), value.encode()) for name, value in headers.items()]
    assert request_id_in(response) == expected
