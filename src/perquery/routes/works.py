"""The paid endpoints that are not chat, one handler for all: plain ASGI, for the same reason as chat's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from perquery.accounts import Access
from perquery.calls import Work
from perquery.dialects import embeddings, moderations, rerank, speech, transcriptions
from perquery.dialects.forms import Form, form_in
from perquery.errors import PerQueryError
from perquery.metering import images
from perquery.metering.caller import Caller, Receive, Send
from perquery.metering.idempotency import Served, once
from perquery.metering.ids import new_id
from perquery.metering.works import perform
from perquery.routes.answers import check_post, request_id_in, send_error
from perquery.routes.bodies import received


@dataclass(frozen=True, slots=True)
class Service:
    """One endpoint. parse: raises BadRequest. body_bytes_max: where it is less than the gateway's own. slow: it may
    take long enough to parse that others would wait. voiced: the model's own voices are spoken with.
    """

    parse: Callable[[Form], Work]
    body_bytes_max: int | None = None
    slow: bool = False
    voiced: bool = False


async def answer(service: Service, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
    """One piece of work, paid from the caller's balance.

    What breaks off when bytes have left already ends without the end that HTTP wants: there is no other way to say so.
    """
    parts = scope["state"]
    headers = dict(scope["headers"])
    caller = Caller(receive, send)
    try:
        check_post(scope["method"])
        access = parts["accounts"].known(scope) or await parts["accounts"].caller(scope)
        limit = parts["settings"].limits.body_bytes_max
        kind = headers.get(b"content-type", b"").decode("latin-1")
        # The whole body goes by no name here, so that a large file is in memory once while the upstream works.
        form = form_in(await received(receive, headers, min(limit, service.body_bytes_max or limit)), kind)
        work = await asyncio.to_thread(service.parse, form) if service.slow else service.parse(form)
        key, named = headers.get(b"idempotency-key"), new_id()
        if key is None:
            await _serve(parts, service, work, access, headers, caller, named)
            return
        await once(
            parts["database"],
            access.account_id,
            key.decode("latin-1"),
            form.identity,
            parts["gateway"].ledger.owner,
            named[0],
            send,
            lambda recording: _serve(parts, service, work, access, headers, caller.recorded(recording), named),
        )
    except PerQueryError as error:
        if not caller.started:
            await send_error(send, error, request_id=request_id_in(scope["headers"]))


def _serve(
    parts: Mapping[str, Any],
    service: Service,
    work: Work,
    access: Access,
    headers: Mapping[bytes, bytes],
    caller: Caller,
    named: tuple[str, int],
) -> Awaitable[Served]:
    found = parts["catalog"].find(work.model, datetime.now(UTC).date(), work.kind)
    if service.voiced:
        parts["voices"].settle(work, found.model.id)
    source = headers.get(b"x-query-source", b"api").decode("latin-1")[:32]
    return perform(parts["gateway"], work, found, access, caller, source, named)


def _listening(task: str) -> Service:
    return Service(partial(transcriptions.parse, task=task), transcriptions.BODY_BYTES_MAX, slow=True)


SERVICES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "/images/edits": partial(answer, Service(images.parse_edit)),
        "/images/generations": partial(answer, Service(images.parse)),
        "/embeddings": partial(answer, Service(embeddings.parse)),
        "/audio/transcriptions": partial(answer, _listening("transcribe")),
        "/audio/translations": partial(answer, _listening("translate")),
        "/audio/speech": partial(answer, Service(speech.parse, voiced=True)),
        "/rerank": partial(answer, Service(rerank.parse)),
        "/moderations": partial(answer, Service(moderations.parse)),
    }
)
