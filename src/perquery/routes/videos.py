"""The endpoints for videos: a job is begun, looked at, fetched and forgotten. PPQ's shapes, and OpenAI's for who asks
in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, Response

from perquery import money
from perquery.accounts import Access
from perquery.config import Settings, is_loopback
from perquery.dialects.forms import Form, form_in
from perquery.dialects.videos import VideoWish, wish_in
from perquery.errors import BadRequest, Gone, NotFound, PerQueryError
from perquery.metering.caller import Receive, Send, encoded
from perquery.metering.idempotency import Served, once
from perquery.metering.ids import new_id
from perquery.metering.jobs import JobRow, Jobs
from perquery.metering.jobs_shown import shown
from perquery.routes.access import SECURED, Caller
from perquery.routes.answers import MoneyJSON, Started, check_post, request_id_in, send_error
from perquery.routes.bodies import received
from perquery.routes.openapi import ERROR

router = APIRouter(tags=["videos"])
POLL_MS: Final = "5000"
LIST_MAX: Final = 100
_SUFFIXES: Final = {"video/mp4": "mp4", "video/webm": "webm"}
# For the document: what is answered beside a plain 200.
_FILE: Final = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _SUFFIXES}}
_FILMED: Final[dict[str, Any]] = {
    "response_class": FileResponse,
    "responses": {
        200: {"description": "The video", **_FILE},
        206: {"description": "The part of it that `range` asks for", **_FILE},
        410: ERROR | {"description": "It was kept for its time and is gone"},
        416: {"description": "A `range` outside of it", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
}
_STANDS: Final[dict[int | str, dict[str, Any]]] = {
    202: {
        "description": "In PPQ's shape, while it is pending",
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
}


async def begin(scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """POST /v1/videos: a job, held until its verdict."""
    parts = scope["state"]
    headers = dict(scope["headers"])
    started = Started(send)
    try:
        check_post(scope["method"])
        access = parts["accounts"].known(scope) or await parts["accounts"].caller(scope)
        raw = await received(receive, headers, parts["settings"].limits.body_bytes_max)
        kind = headers.get(b"content-type", b"").decode("latin-1")
        form = form_in(raw, kind)
        wish = wish_in(form, multipart=kind.lower().startswith("multipart/"))
        _check_webhook(wish, parts["settings"])
        await _begun_once(parts, access, form, wish, headers, started)
    except PerQueryError as error:
        if not started.started:
            await send_error(send, error, request_id=request_id_in(scope["headers"]))


async def _begun_once(
    parts: Mapping[str, Any],
    access: Access,
    form: Form,
    wish: VideoWish,
    headers: Mapping[bytes, bytes],
    started: Started,
) -> None:
    """A repeated request with the same Idempotency-Key gets the same job."""
    id, _ = new_id()
    source = headers.get(b"x-query-source", b"api").decode("latin-1")[:32]
    base_url = _base_url(parts["settings"], headers)

    async def serve(send: Send) -> Served:
        found = parts["catalog"].find(wish.model, datetime.now(UTC).date(), "video")
        row, dropped = await parts["jobs"].begin(access, found, wish, source, id)
        body = shown(row, base_url) | ({"webhook_secret": row.hook_secret} if row.hook_secret else {})
        said = {"x-perquery-generation-id": id, "x-request-id": id, **found.note_headers}
        said |= {"x-perquery-dropped": ", ".join(dropped)} if dropped else {}
        said |= {"content-type": "application/json", "openai-poll-after-ms": POLL_MS}
        await _send(send, 202 if row.shape == "ppq" else 200, said, money.json(body))
        return "whole"

    key = headers.get(b"idempotency-key")
    if key is None:
        await serve(started)
        return
    owner = parts["gateway"].ledger.owner
    text = key.decode("latin-1")
    await once(parts["database"], access.account_id, text, form.identity, owner, id, started, serve)


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    sized = [*encoded(headers), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": sized})
    await send({"type": "http.response.body", "body": body})


def _check_webhook(wish: VideoWish, settings: Settings) -> None:
    """In the sandbox only loopback literals are told; elsewhere nothing without TLS."""
    url = wish.webhook_url
    if url and not (is_loopback(url) if settings.sandbox else url.startswith("https://")):
        needed = "a loopback address, for this is the sandbox" if settings.sandbox else "a https URL"
        raise BadRequest(f"`webhook_url` must be {needed}.", param="webhook_url")


def _base_url(settings: Settings, headers: Mapping[bytes, bytes]) -> str:
    """Where the caller reaches us: as the operator says, else as the caller does."""
    return settings.public_url or f"http://{headers.get(b'host', b'').decode('latin-1')}"


def _reached_at(request: Request) -> str:
    return _base_url(request.app.state.settings, dict(request.scope["headers"]))


async def _job(request: Request, account_id: int, id: str) -> JobRow:
    jobs: Jobs = request.app.state.jobs
    row = await jobs.find(account_id, id)
    if row is None:
        raise NotFound("There is no such video; it may have been deleted.", param="id", code="video_not_found")
    return row


@router.get("/videos", summary="Alias of /v1/videos", openapi_extra=SECURED)
@router.get("/v1/videos", summary="The account's videos, newest first (OpenAI's list)", openapi_extra=SECURED)
async def list_videos(
    request: Request,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 20,
    after: Annotated[str | None, Query(description="The id of the last one that is known.", max_length=100)] = None,
) -> Response:
    jobs: Jobs = request.app.state.jobs
    rows = await jobs.latest(caller.account_id, after, limit + 1)
    base_url = _reached_at(request)
    data = [shown(row, base_url) for row in rows[:limit]]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    more = len(rows) > limit
    return MoneyJSON({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more})


@router.get("/videos/{id}", summary="Alias of /v1/videos/{id}", responses=_STANDS, openapi_extra=SECURED)
@router.get("/v1/videos/{id}", summary="How a video stands", responses=_STANDS, openapi_extra=SECURED)
async def one_video(request: Request, caller: Caller, id: str) -> Response:
    row = await _job(request, caller.account_id, id)
    pending = not row.ended and row.shape == "ppq"
    headers = {} if row.ended else {"openai-poll-after-ms": POLL_MS, "retry-after": "5"}
    return MoneyJSON(shown(row, _reached_at(request)), status_code=202 if pending else 200, headers=headers)


@router.delete("/videos/{id}", summary="Alias of /v1/videos/{id}", openapi_extra=SECURED)
@router.delete("/v1/videos/{id}", summary="Forget a video; what is under way is asked to stop", openapi_extra=SECURED)
async def delete_video(request: Request, caller: Caller, id: str) -> Response:
    row = await _job(request, caller.account_id, id)
    jobs: Jobs = request.app.state.jobs
    await jobs.forget(row)
    return MoneyJSON({"id": row.id, "object": "video.deleted", "deleted": True})


@router.get(
    "/videos/{id}/content",
    summary="Alias of /v1/videos/{id}/content",
    **_FILMED,
    openapi_extra=SECURED,
)
@router.get(
    "/v1/videos/{id}/content",
    summary="The finished video itself",
    **_FILMED,
    openapi_extra=SECURED,
)
async def content(
    request: Request,
    caller: Caller,
    id: str,
    variant: Annotated[str, Query(description="Only `video` is kept.")] = "video",
) -> Response:
    if variant != "video":
        raise BadRequest("Only the video itself is kept, no other `variant`.", param="variant")
    return await _film(request, await _job(request, caller.account_id, id))


@router.get(
    "/v1/media/{id}/0",
    summary="A finished video, opened by the token in its URL",
    **_FILMED,
)
async def media(request: Request, id: str, token: Annotated[str, Query(max_length=100)] = "") -> Response:
    jobs: Jobs = request.app.state.jobs
    row = await jobs.opened(id, token)
    if row is None:
        raise NotFound("There is nothing at this address; the token may be wrong.", code="video_not_found")
    return await _film(request, row)


async def _film(request: Request, row: JobRow) -> Response:
    jobs: Jobs = request.app.state.jobs
    if row.state != "completed":
        why = "failed" if row.state == "failed" else "is not finished yet"
        raise NotFound(f"This video {why}, so there is nothing to fetch.", code="video_not_ready")
    now = await asyncio.to_thread(request.app.state.database.now_ms)
    if row.content_until is None or now >= row.content_until or not await jobs.kept(row):
        raise Gone("This video was kept for its time and is gone.", code="video_expired")
    path: Path = jobs.path(row.id)
    suffix = _SUFFIXES.get(row.media_type or "", "bin")
    headers = {"content-disposition": f'inline; filename="{row.id}.{suffix}"', "cache-control": "private"}
    return FileResponse(path, media_type=row.media_type, headers=headers)
