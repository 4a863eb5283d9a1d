"""Bad requests on the wire against the gateway as a process: heads, methods, paths, protocols, credentials, headers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

import pytest

from tests.gate import CHAT, GOOD, MEMORY_KB_MAX, MIB, Gate, attacked, connected


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with attacked(tmp_path_factory.mktemp("hostile")) as gate:
        yield gate


# -- heads ---------------------------------------------------------------------------------------------------------


FLOODS: Final = {
    "10,000 headers": b"GET /health HTTP/1.1\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(10_000)) + b"\r\n",
    "one of 1 MB": b"GET /health HTTP/1.1\r\nx: " + b"y" * MIB + b"\r\n\r\n",
    "a name of 1 MB": b"GET /health HTTP/1.1\r\n" + b"y" * MIB + b": x\r\n\r\n",
    "one that does not end": b"GET /health HTTP/1.1\r\nx: " + b"y" * (50 * MIB),
    "a path that does not end": b"GET /" + b"y" * (50 * MIB),
    "a query that does not end": b"GET /health?" + b"a=b&" * (12 * MIB),
    "a method that does not end": b"G" * (5 * MIB),
    "nothing but line ends": b"\r\n" * (5 * MIB),
    "a chunk's extension": b"POST /keys HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"y" * (5 * MIB),
    "trailers": b"POST /keys HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + b"x: y\r\n" * MIB,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_refused_or_cut_off(gate: Gate, flood: bytes) -> None:
    answer = gate.raw(*(flood[at : at + MIB] for at in range(0, len(flood), MIB)))
    assert answer is None or answer.status in (400, 401, 413)
    assert gate.memory_kb() < MEMORY_KB_MAX


def test_many_parameters_are_only_many_parameters(gate: Gate) -> None:
    query = "&".join(f"credit_id={n}&page={n}" for n in range(2_000))
    answer = gate.raw(gate.head("GET", f"/queries/history?{query}"))
    assert answer is not None
    assert answer.status == 200


NOT_HTTP: Final = {
    "noise": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/9": b"GET /health HTTP/9.9\r\n\r\n",
    "method": b"ABSURD /health HTTP/1.1\r\n\r\n",
    "CONNECT": b"CONNECT example.org:443 HTTP/1.1\r\n\r\n",
    "bare path": b"GET health HTTP/1.1\r\n\r\n",
    "no path": b"GET http://example.org HTTP/1.1\r\n\r\n",
    "bytes in the path": b"GET /caf\xc3\xa9\xff HTTP/1.1\r\n\r\n",
    "NUL in the path": b"GET /he\x00alth HTTP/1.1\r\n\r\n",
    "NUL in a header": b"GET /health HTTP/1.1\r\nx: a\x00b\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\nx\x0b: a\r\n\r\n",
    "two lengths": b"POST /keys HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "length and chunks": b"POST /keys HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "negative length": b"POST /keys HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "length beyond all": b"POST /keys HTTP/1.1\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    "bad chunk": b"POST /keys HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "chunk beyond all": b"POST /keys HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_a_400(gate: Gate, data: bytes) -> None:
    answer = gate.raw(data)
    assert answer is not None
    assert (answer.status, answer.headers["connection"]) in ((400, "close"), (401, "close"))


@pytest.mark.parametrize("method", ["TRACE", "PURGE", "PROPFIND", "LOCK", "SEARCH", "M-SEARCH", "SUBSCRIBE"])
@pytest.mark.parametrize("path", ["/health", "/keys", CHAT])
def test_a_method_that_nobody_asks_with_is_a_405(gate: Gate, method: str, path: str) -> None:
    answer = gate.raw(gate.head(method, path))
    assert answer is not None
    assert (answer.status, answer.json()["error"]["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    "path",
    [
        *("/../../etc/passwd", "/..%2f..%2fetc%2fpasswd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/.git/config"),
        *("/%00", "/%", "/%zz", "/%ff%fe", "/%c0%ae%c0%ae/", "/keys/%00", "/keys/..%2f..", "/topup/status/%F0%9F%92"),
        *("/v1/models/../../x", "/v1/models/%00", "/v1/models/%0d%0aset-cookie:%20a", "/v1/models/" + "a/" * 5_000),
        *("/v1/generation?id=%00", "/v1/generation?id=%ff", "/v1/chat/completion/", "/V1/CHAT/COMPLETIONS", "/;/?"),
    ],
)
def test_a_path_to_nowhere_is_a_404(gate: Gate, path: str) -> None:
    lines = (f"X-Credit-Id: {gate.credit_id}",)
    answer = gate.raw(gate.head("GET", path, *lines).replace(f"Authorization: Bearer {gate.key}\r\n".encode(), b""))
    assert answer is not None
    assert answer.status == 404
    assert "set-cookie" not in answer.headers


def test_http_1_0_is_served(gate: Gate) -> None:
    body = json.dumps(GOOD).encode()
    head = gate.head("POST", CHAT, f"Content-Length: {len(body)}").replace(b"HTTP/1.1", b"HTTP/1.0")
    answer = gate.raw(head + body)
    assert answer is not None
    assert answer.status == 200


def test_requests_that_come_in_one_piece_are_answered_in_turn(gate: Gate) -> None:
    body = json.dumps(GOOD).encode()
    ask = gate.head("POST", CHAT, f"Content-Length: {len(body)}").replace(b"Connection: close\r\n", b"") + body
    check = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(gate.gateway) as connection, connection.makefile("rb") as stream:
        connection.sendall((ask + check) * 5 + gate.head("GET", "/health"))
        answers = stream.read().split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200"] * 11
    assert [b"choices" in answer for answer in answers] == [True, False] * 5 + [False]


def test_noise_behind_a_paid_request_ends_it_in_good_order(gate: Gate) -> None:
    body = json.dumps(GOOD | {"messages": [{"role": "user", "content": "script: chunks=20 gap_ms=20"}]}).encode()
    head = gate.head("POST", CHAT, f"Content-Length: {len(body)}").replace(b"Connection: close\r\n", b"")
    assert gate.raw(head + body + b"\x00noise\r\n\r\n") is None
    gate.settled()


@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", CHAT, "/nowhere"])
def test_an_upgrade_is_not_taken_up(gate: Gate, path: str) -> None:
    lines = ("Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    head = gate.head("GET", path, *lines).replace(b"Connection: close", b"Connection: Upgrade")
    answer = gate.raw(head)
    assert answer is not None
    assert answer.status == {CHAT: 405, "/nowhere": 404}.get(path, 200)


def test_a_request_that_offers_an_upgrade_is_served_with_its_body(gate: Gate) -> None:
    body = json.dumps(GOOD).encode()
    lines = ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAA", f"Content-Length: {len(body)}")
    head = gate.head("POST", CHAT, *lines).replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings")
    answer = gate.raw(head + body[:10], body[10:])
    assert answer is not None
    assert answer.status == 200


# -- credentials and other headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        *(b"Authorization: Bearer", b"Authorization: Bearer ", b"Authorization: Bearer " + b"k" * 50_000),
        *(b"Authorization: Basic dTpw", b"Authorization: Bearer \xff\xfe\xc3\x28", b"X-Credit-Id: \xf0\x9f\x92\xa9"),
        *(b"X-Api-Key: sk-a'; DROP TABLE accounts; --", b"Api-Key: sk-\\u0000", b"X-Credit-Id: %00%0d%0a"),
        *(b"Authorization: Bearer sk-a\r\nX-Injected: 1", b"X-Credit-Id: " + b"0" * 36, b"Cookie: session=1"),
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/credits/balance", "/keys"])
def test_a_bad_credential_is_a_401(gate: Gate, path: str, line: bytes) -> None:
    answer = gate.raw(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n%b\r\n\r\n" % (path.encode(), line))
    assert answer is not None
    assert answer.status == 401
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize("key", ["k" * 255, "'; DROP TABLE replies; --", "\xff\xfe", "%00"])
def test_an_idempotency_key_is_any_text(gate: Gate, key: str) -> None:
    first, second = (gate.post(CHAT, GOOD, {"Idempotency-Key": key}) for _ in range(2))
    assert first.status == 200
    # An answer may be here before it is kept.
    assert second.body == first.body or second.json()["error"]["code"] == "idempotency_key_in_use"


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_idempotency_key_is_neither_empty_nor_long(gate: Gate, key: str) -> None:
    assert gate.post(CHAT, GOOD, {"Idempotency-Key": key}).json()["error"]["param"] == "Idempotency-Key"


@pytest.mark.parametrize("id", ["", "x" * 129, "x" * 50_000, "caf\xe9", "\xff\xfe", "a\tb"])
def test_a_request_id_that_is_not_plain_is_replaced(gate: Gate, id: str) -> None:
    answer = gate.post(CHAT, b"{}", {"x-request-id": id})
    assert answer.headers["x-request-id"].isalnum()
    assert answer.headers["x-request-id"] != id


@pytest.mark.parametrize(
    "header", ["x-query-source", "x-perquery-strict-cap", "accept", "accept-encoding", "expect", "x-forwarded-for"]
)
@pytest.mark.parametrize("value", ["", "\xff\xfe", "x" * 10_000, "'\"<script>", "{{7*7}}", "../../etc/passwd"])
def test_other_headers_may_say_anything(gate: Gate, header: str, value: str) -> None:
    assert gate.post(CHAT, GOOD, {header: value}).status == 200
