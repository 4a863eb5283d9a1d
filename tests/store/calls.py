"""Calls as metering books them: a hold, then its settlement with the receipt's row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson

from perquery.store.jobs import JobRow
from perquery.store.operations import WHOLE, Hold, Operation, RequestRow, Settle


def id_at(at_ms: int, number: int = 0) -> str:
    """An id of that millisecond, in the form of UUIDv7."""
    return f"gen-{at_ms << 80 | 0x7 << 76 | 0b10 << 62 | number:032x}"


def row(account_id: int, key_id: str | None, id: str, at_ms: int, **changes: Any) -> RequestRow:
    """A receipt's row of 100 tokens in, 10 out; `changes` replace columns."""
    detail = {
        "usage": {"input": 80, "cache_read": 20, "output": 10},
        "lines": [{"unit": "input", "count": 80, "pico_per_unit": 1_500_000, "pico": 120_000_000}],
        "estimated": False,
        "finish": "stop",
        "attempts": [{"provider": "dead", "model": "m", "error": "auth", "status": 401}],
        "capped_to": None,
        "cache_saved_nano": 25_000,
    }
    columns: dict[str, Any] = {
        "account_id": account_id,
        "id": id,
        "key_id": key_id,
        "at": at_ms,
        "model": "some/model",
        "provider": "host",
        "upstream_id": None,
        "upstream_request_id": None,
        "kind": "chat_completion",
        "source": "api",
        "streamed": 1,
        "input_count": 100,
        "output_count": 10,
        "upstream_nano": 5,
        "unbilled_nano": 0,
        "rule": "complete",
        "error_code": None,
        "first_event_ms": 40,
        "total_ms": 900,
        "detail": orjson.dumps(detail).decode(),
    }
    return RequestRow(**columns | changes)


def called(
    account_id: int, key_id: str | None, at_ms: int, cost: int, *, number: int = 0, **changes: Any
) -> tuple[Operation, Operation]:
    """A call that was held for twice its cost and settled."""
    id = id_at(at_ms, number)
    record = row(account_id, key_id, id, at_ms, **changes)
    model = record.model
    return (
        Hold(id, account_id, key_id, 2 * cost, 2 * cost, WHOLE, WHOLE, True, model),
        Settle(id, account_id, key_id, cost, record),
    )


def job(id: str, account_id: int, **columns: Any) -> JobRow:
    """A video of five seconds, under way."""
    row = JobRow(
        id=id,
        account_id=account_id,
        key_id=None,
        kind="video",
        shape="ppq",
        source="api",
        model="some/video",
        provider="host",
        upstream_model="video",
        state="running",
        counts='{"second":5}',
        price='{"table":{"second":1000000000},"version":"v","markup":[1,1]}',
        quoted_nano=5_000_000,
        token="token",
        created_at=1,
        due_at=1,
        ticket='{"name":"n","key":"k"}',
        sent_at=1,
    )
    return replace(row, **columns)
