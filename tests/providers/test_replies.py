"""What an upstream calls a request, wherever its head says so."""

from __future__ import annotations

import pytest

from perquery.providers.replies import request_id_in


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
    assert request_id_in(lambda name: headers.get(name.decode(), "")) == expected
