"""What was called and what it cost, over HTTP: PPQ's history, OpenRouter's key, credits and generation, and usage
added up as JSON or CSV.
"""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from perquery import money
from perquery.accounts import credentials_in
from perquery.errors import BadRequest, NotFound
from perquery.routes.access import SECURED, Caller, authenticated
from perquery.routes.answers import MoneyJSON, iso
from perquery.store import queries
from perquery.store.queries import Grouping, Receipt, UsageRow

router = APIRouter(tags=["usage"])
PAGE_MAX: Final = 100_000
COUNT_MAX: Final = 1_000
ID_MAX: Final = 200
RANGE_DEFAULT: Final = timedelta(days=30)
RANGE_MAX: Final = timedelta(days=366)
_AS_CSV: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
_FORMULA: Final = ("=", "+", "-", "@")


@router.get("/queries/history", summary="Calls, newest first (PPQ's shape)", openapi_extra=SECURED)
async def history(
    request: Request,
    page: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 1,
    page_count: Annotated[int, Query(ge=1, le=COUNT_MAX)] = 100,
    all_keys: bool = False,
    credit_id: Annotated[str | None, Query(description="In place of a header.")] = None,
) -> Response:
    given = credentials_in(request.scope["headers"], request.scope["query_string"])
    access = await authenticated(request, given)
    key_id = None if all_keys else access.key_id
    database = request.app.state.database
    found = await asyncio.to_thread(queries.history, database, access.account_id, key_id, page, page_count)
    entries = [_entry(receipt) for receipt in found[:page_count]]
    envelope = {"page": page, "page_count": page_count, "has_more": len(found) > page_count}
    return MoneyJSON({"data": entries} | envelope)


def _entry(receipt: Receipt) -> dict[str, Any]:
    return {
        "id": receipt.id,
        "timestamp": iso(receipt.at),
        "model": receipt.model,
        "input_count": receipt.input_count,
        "output_count": receipt.output_count,
        "price_in_usd": money.number(receipt.cost_nano),
        "query_type": receipt.kind,
        "query_source": receipt.source,
        "usage_counts": receipt.detail.get("usage") or {},
        "api_key_id": receipt.key_id,
        "provider": receipt.provider,
        "rule": receipt.rule,
        "error_code": receipt.error_code,
        "isOnline": False,
        "isFreeModel": False,
    }


@router.get("/api/v1/key", summary="Alias of /v1/key", openapi_extra=SECURED)
@router.get("/key", summary="Alias of /v1/key", openapi_extra=SECURED)
@router.get("/v1/key", summary="The calling key: limit, usage (OpenRouter's shape)", openapi_extra=SECURED)
async def key(request: Request, caller: Caller) -> Response:
    database = request.app.state.database
    standing = await asyncio.to_thread(queries.standing, database, caller.account_id, caller.key_id)
    limit = standing.key.limit_nano if standing.key else None
    spent = standing.spent
    data = {
        "label": standing.key.name if standing.key else "credit id",
        "limit": None if limit is None else money.number(limit),
        "limit_remaining": _remaining(standing),
        "limit_reset": standing.key.reset_period if standing.key else None,
        "usage": money.number(spent.total),
        "usage_daily": money.number(spent.day),
        "usage_weekly": money.number(spent.week),
        "usage_monthly": money.number(spent.month),
        "byok_usage": 0,
        "is_free_tier": False,
        "is_provisioning_key": caller.master,
        "is_management_key": caller.master,
        "expires_at": iso(standing.key.expire_at) if standing.key else None,
        "models": standing.key.models if standing.key else None,
        "balance": money.number(standing.figures["balance"]),
    }
    return MoneyJSON({"data": data})


def _remaining(standing: queries.Standing) -> Any:
    """What the key's limit still allows in this period; None without a limit."""
    if standing.key is None or standing.key.limit_nano is None:
        return None
    return money.number(max(0, standing.key.limit_nano - standing.key.used_nano - standing.key.held_nano))


@router.get("/api/v1/credits", summary="Alias of /v1/credits", openapi_extra=SECURED)
@router.get("/credits", summary="Alias of /v1/credits", openapi_extra=SECURED)
@router.get("/v1/credits", summary="All credits and all usage (OpenRouter's shape)", openapi_extra=SECURED)
async def credits(request: Request, caller: Caller) -> Response:
    database = request.app.state.database
    total, spent = await asyncio.to_thread(queries.credited, database, caller.account_id)
    return MoneyJSON({"data": {"total_credits": money.number(total), "total_usage": money.number(spent)}})


@router.get("/api/v1/generation", summary="Alias of /v1/generation", openapi_extra=SECURED)
@router.get("/generation", summary="Alias of /v1/generation", openapi_extra=SECURED)
@router.get("/v1/generation", summary="One call: usage, cost, who served it", openapi_extra=SECURED)
async def generation(
    request: Request,
    caller: Caller,
    id: Annotated[str, Query(description="x-perquery-generation-id, or the upstream's id")],
) -> Response:
    receipt = None
    if 0 < len(id) <= ID_MAX and id.isascii() and id.isprintable():
        database = request.app.state.database
        receipt = await asyncio.to_thread(queries.generation, database, caller.account_id, id)
    if receipt is None:
        raise NotFound("Generation not found", param="id")
    return MoneyJSON({"data": _openrouter(receipt) | _explained(receipt)})


def _openrouter(receipt: Receipt) -> dict[str, Any]:
    """The fields that OpenRouter's answer has."""
    counts = receipt.detail.get("usage") or {}
    return {
        "id": receipt.id,
        "upstream_id": receipt.upstream_id,
        "model": receipt.model,
        "provider_name": receipt.provider,
        "created_at": iso(receipt.at),
        "streamed": receipt.streamed,
        "cancelled": receipt.rule.startswith("caller_left"),
        "finish_reason": receipt.detail.get("finish"),
        "native_finish_reason": receipt.detail.get("finish"),
        "latency": receipt.first_event_ms,
        "generation_time": receipt.total_ms,
        "tokens_prompt": receipt.input_count,
        "tokens_completion": receipt.output_count,
        "native_tokens_prompt": receipt.input_count,
        "native_tokens_completion": receipt.output_count,
        "native_tokens_reasoning": counts.get("reasoning", 0),
        "native_tokens_cached": counts.get("cache_read", 0) + counts.get("audio_cache_read", 0),
        "total_cost": money.number(receipt.cost_nano),
        "usage": money.number(receipt.cost_nano),
        "is_byok": False,
        "api_type": receipt.kind,
        "origin": receipt.source,
    }


def _explained(receipt: Receipt) -> dict[str, Any]:
    """The fields that say why it cost what it did."""
    detail = receipt.detail
    return {
        "cost": money.number(receipt.cost_nano),
        "held": money.number(receipt.held_nano),
        "settled": money.number(receipt.cost_nano),
        "rule": receipt.rule,
        "error_code": receipt.error_code,
        "cache_saved": money.number(detail.get("cache_saved_nano") or 0),
        "estimated": bool(detail.get("estimated")),
        "usage_counts": detail.get("usage") or {},
        "lines": [
            {
                "unit": line["unit"],
                "count": line["count"],
                "usd_per_million": money.number(line["pico_per_unit"], 6),
                "usd_per_unit": money.number(line["pico_per_unit"], 12),
                "usd": money.number(line["pico"], 12),
            }
            for line in detail.get("lines") or ()
        ],
        "capped_to": detail.get("capped_to"),
        "failed_attempts": len(detail.get("attempts") or ()),
        "api_key_id": receipt.key_id,
    }


@router.get("/usage", summary="Alias of /v1/usage", openapi_extra=SECURED, responses=_AS_CSV)
@router.get("/v1/usage", summary="Usage by day, key or model, as JSON or CSV", openapi_extra=SECURED, responses=_AS_CSV)
async def usage(
    request: Request,
    caller: Caller,
    group_by: Annotated[str, Query(description="day, key, model, or several with commas")] = "day",
    begin: Annotated[str | None, Query(alias="from", description="A date or time; default 30 days ago")] = None,
    end: Annotated[str | None, Query(alias="to", description="A date (included) or time; default now")] = None,
    all_keys: Annotated[bool, Query(description="Of a key: the whole account's usage")] = False,
    format: Annotated[str | None, Query(pattern="^(json|csv)$")] = None,
) -> Response:
    by = _groupings(group_by)
    database = request.app.state.database
    now_ms = await asyncio.to_thread(database.now_ms)
    from_at, to_at = _range(begin, end, datetime.fromtimestamp(now_ms // 1000 + 1, UTC))
    key_id = None if all_keys else caller.key_id
    rows = await asyncio.to_thread(queries.usage, database, caller.account_id, key_id, by, _ms(from_at), _ms(to_at))
    accepts_csv = request.headers.get("accept", "").lower().startswith("text/csv")
    if format == "csv" or (format is None and accepts_csv):
        return Response(_csv(rows, by), media_type="text/csv")
    data = [_group(row, by) | _totals(row) | {"cost_usd": money.number(row.cost_nano)} for row in rows]
    return MoneyJSON({"from": iso(_ms(from_at)), "to": iso(_ms(to_at)), "group_by": by, "data": data})


def _groupings(text: str) -> list[Grouping]:
    known = {name: name for name in get_args(Grouping)}
    try:
        return [known[name.strip()] for name in text.split(",")]
    except KeyError as error:
        raise BadRequest("group_by must be day, key, model, or several with commas.", param="group_by") from error


def _range(begin: str | None, end: str | None, now: datetime) -> tuple[datetime, datetime]:
    to_at = _moment(end, "to", now, whole_day=True)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    from_at = _moment(begin, "from", min(midnight, to_at) - RANGE_DEFAULT, whole_day=False)
    if not from_at < to_at <= from_at + RANGE_MAX:
        raise BadRequest(f"from must be before to, by at most {RANGE_MAX.days} days.", param="from")
    return from_at, to_at


def _moment(text: str | None, param: str, default: datetime, *, whole_day: bool) -> datetime:
    """A date or time in ISO 8601, UTC where it names no zone. whole_day: a date means its end."""
    if text is None:
        return default
    try:
        given = datetime.fromisoformat(text)
        day = timedelta(days=1 if whole_day and len(text) == len("2030-01-31") else 0)
        moment = given.replace(tzinfo=given.tzinfo or UTC).astimezone(UTC) + day
        _in_bounds = moment - RANGE_MAX, moment + RANGE_MAX
    except (ValueError, OverflowError) as error:
        raise BadRequest(f'{param} must be a date or time, such as "2030-01-31".', param=param) from error
    return moment


def _ms(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _group(row: UsageRow, by: list[Grouping]) -> dict[str, Any]:
    group: dict[str, Any] = {}
    if "day" in by:
        group["day"] = (iso(row.day) or "")[:10]
    if "key" in by:
        group |= {"api_key_id": row.key_id, "key_name": row.key_name}
    if "model" in by:
        group["model"] = row.model
    return group


def _totals(row: UsageRow) -> dict[str, int]:
    return {
        "requests": row.requests,
        "failed": row.failed,
        "input_count": row.input_count,
        "output_count": row.output_count,
    }


def _csv(rows: list[UsageRow], by: list[Grouping]) -> str:
    """One line a group."""
    out = io.StringIO()
    empty = UsageRow(0, "", "", "", 0, 0, 0, 0, 0)
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*_group(empty, by), *_totals(empty), "cost_usd"])
    for row in rows:
        texts = [value or "" for value in _group(row, by).values()]
        writer.writerow([*map(spreadsheet_safe, texts), *_totals(row).values(), money.plain(row.cost_nano)])
    return out.getvalue()


def spreadsheet_safe(text: str) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{text}" if text.startswith(_FORMULA) else text
