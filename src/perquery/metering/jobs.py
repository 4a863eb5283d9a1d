"""Durable jobs: from a quote to a verdict, over restarts. A job is held for as long as nobody knows how it ends.

The hold belongs to the job: no lease that runs out ends it, only the verdict does, and that is written down before the
money moves by it. What was sent is never sent again: upstreams know no idempotency key, so a submission whose answer
was lost has its verdict by that alone, and is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from perquery.accounts import Access
from perquery.calls import Price, Route, Usage
from perquery.catalog.models import Found
from perquery.catalog.price import most_nano
from perquery.catalog.recipes import Recipe
from perquery.config import Settings
from perquery.dialects.videos import VideoWish
from perquery.errors import BadRequest, ModelNotFound, UpstreamError
from perquery.metering.attempts import refused, surely_undone, unavailable
from perquery.metering.gateway import Gateway
from perquery.metering.jobs_shown import shown
from perquery.metering.reserve import EmptyBalance, fixed, refusal
from perquery.metering.settlement import Receipt, Seen, bill_of
from perquery.money import Ratio
from perquery.providers.content import Content
from perquery.providers.studio import ASK_S, Look, Shot, Studio, shot
from perquery.store import jobs
from perquery.store.database import Database
from perquery.store.jobs import OWNER, JobRow
from perquery.store.leases import Turn
from perquery.store.operations import WHOLE, Hold, Release, RequestRow, Settle

__all__ = ["JobRow", "Jobs"]
LEASE: Final = "loop:jobs"
TICK_S: Final = 1.0
LEASE_MS: Final = 15_000
BATCH: Final = 32
LOST_MS: Final = round(ASK_S * 1000) * 4  # a submission that is older has nobody any more who waits for its answer
VERDICT_MS: Final = 3 * 86_400_000  # an upstream that has said nothing by then is taken to have failed
FIRST_LOOK_MS: Final = 2_000
LOOK_MS_MAX: Final = 30_000
RETRY_MS_MAX: Final = 600_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """One way to make it."""

    route: Route
    studio: Studio
    shot: Shot


class Jobs:
    """One per process. clock: milliseconds of the database. changed: called where a caller may have to be told."""

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        studios: Mapping[str, Studio],
        recipes: Mapping[tuple[str, str], Recipe],
        content: Content,
        changed: Callable[[], None],
    ) -> None:
        self._database = database
        self._ledger = gateway.ledger
        self._gateway = gateway
        self._settings: Settings = gateway.settings
        self._studios = studios
        self._recipes = recipes
        self._content = content
        self._changed = changed
        self._turn = Turn(database, LEASE, LEASE_MS, database.now_ms)
        self._busy: dict[str, asyncio.Task[None]] = {}

    # -- a caller's side ----------------------------------------------------------------------------------------

    async def begin(
        self, access: Access, found: Found, wish: VideoWish, source: str, id: str
    ) -> tuple[JobRow, Sequence[str]]:
        """Hold, ask, and write down what it is called; the job, and what of the wish was dropped.

        Raises what the caller is told where nothing was begun; nothing is charged then.
        """
        offers = self.offers(found, wish)
        quoted = max(most_nano(offer.route, offer.shot.counts) for offer in offers)
        with self._gateway.admission.place(access.account_id):
            row = await self._written(access, found, wish, source, id, offers[0], quoted)
            await self._held(row, access, found.model.id, quoted)
            self._gateway.admission.credited(access.account_id)
            return await self._sent(row, offers)

    def offers(self, found: Found, wish: VideoWish) -> list[Offer]:
        """Who could make it, the first choice first. Raises BadRequest or ModelNotFound where nobody can."""
        offers: list[Offer] = []
        refusal: BadRequest | None = None
        for route in found.model.routes:
            recipe, studio = self._recipes.get((route.provider, route.model)), self._studios.get(route.provider)
            if recipe is None or studio is None:
                continue
            try:
                offers.append(Offer(route, studio, shot(recipe, wish)))
            except BadRequest as error:
                refusal = refusal or error
        if not offers:
            unable = ModelNotFound(f"{found.model.id} makes no videos here.", code="model_unavailable", param="model")
            raise refusal or unable
        return offers

    async def find(self, account_id: int, id: str) -> JobRow | None:
        row = await asyncio.to_thread(jobs.find, self._database, account_id, id)
        return row if row is not None and row.deleted_at is None else None

    async def latest(self, account_id: int, before: str | None, limit: int) -> list[JobRow]:
        return await asyncio.to_thread(jobs.latest, self._database, account_id, "video", before, limit)

    def path(self, id: str) -> Path:
        """Where its content lies, where it is kept here."""
        return self._content.path(id)

    async def opened(self, id: str, token: str) -> JobRow | None:
        """The job whose content the token opens."""
        row = await asyncio.to_thread(jobs.opened, self._database, id)
        if row is None or row.deleted_at is not None or not secrets.compare_digest(row.token, token):
            return None
        return row

    async def forget(self, row: JobRow) -> None:
        """The caller wants it no more: its content goes, and what is under way is asked to stop.

        The verdict stays the upstream's: what it makes in spite of that is paid.
        """
        await asyncio.to_thread(
            jobs.note, self._database, row.id, deleted_at=self._database.now_ms(), hook_state="", hook_url=None
        )
        await asyncio.to_thread(self._content.forget, row.id)
        studio = self._studios.get(row.provider)
        if not row.ended and row.ticket is not None and studio is not None:
            try:
                await studio.cancel(row.ticket)
            except UpstreamError as error:
                _log.info("job %s could not be stopped: %s", row.id, error.kind)

    async def kept(self, row: JobRow) -> bool:
        """Whether its content is here; fetched again where another gateway has it."""
        if await asyncio.to_thread(self._content.held, row.id):
            return True
        studio = self._studios.get(row.provider)
        if studio is None or row.ticket is None:
            return False
        try:
            look = await studio.look(row.ticket)
            if look.film is None:
                return False
            await self._content.fetch(row.id, look.film)
        except UpstreamError:
            return False
        return True

    async def _written(
        self, access: Access, found: Found, wish: VideoWish, source: str, id: str, first: Offer, quoted: int
    ) -> JobRow:
        now = await asyncio.to_thread(self._database.now_ms)
        row = JobRow(
            id=id,
            account_id=access.account_id,
            key_id=access.key_id,
            kind="video",
            shape=wish.shape,
            source=source,
            model=found.model.id,
            state="new",
            quoted_nano=quoted,
            token=secrets.token_urlsafe(18),
            created_at=now,
            due_at=now,
            hook_url=wish.webhook_url or None,
            hook_secret=(wish.webhook_secret or f"whsec_{secrets.token_hex(24)}") if wish.webhook_url else None,
            hook_state="pending" if wish.webhook_url else "",
            **_asked(first),
        )
        await asyncio.to_thread(jobs.add, self._database, row)
        return row

    async def _held(self, row: JobRow, access: Access, model: str, quoted: int) -> None:
        to = (row.id, access.account_id, access.key_id)
        result = await self._ledger.submit(Hold(*to, quoted, quoted, WHOLE, WHOLE, True, model, owner=OWNER + row.id))
        if result.status == "REFUSED":
            await asyncio.to_thread(jobs.drop, self._database, row.id)
            error = refusal(result, fixed(model, quoted), self._gateway.topup_url)
            if isinstance(error, EmptyBalance):
                self._gateway.admission.refused_empty(access.account_id)
            raise error

    async def _sent(self, row: JobRow, offers: Sequence[Offer]) -> tuple[JobRow, Sequence[str]]:
        """Ask one after the other until one begins; another only where the one before surely has not."""
        errors: list[UpstreamError] = []
        before: jobs.State = "new"
        for offer in offers:
            now = await asyncio.to_thread(self._database.now_ms)
            asked = _asked(offer)
            if not await self._moved(row, before, "sending", sent_at=now, due_at=now, **asked):
                break
            before, row = "sending", replace(row, state="sending", sent_at=now, **asked)
            try:
                ticket = await offer.studio.submit(offer.shot)
            except BadRequest:
                await self._failed(row, "invalid_request", "The upstream cannot do this.")
                raise
            except UpstreamError as error:
                self._gateway.health.failed(offer.route, error)
                errors.append(error)
                if error.kind == "refused":
                    await self._failed(row, error.code or "refused", error.message)
                    raise refused(error) from error
                if not surely_undone(error):
                    break
                continue
            now = await asyncio.to_thread(self._database.now_ms)
            if await self._moved(row, "sending", "running", ticket=ticket, due_at=now + FIRST_LOOK_MS):
                self._gateway.health.succeeded(offer.route)
                return replace(row, state="running", ticket=ticket), offer.shot.dropped
            with contextlib.suppress(UpstreamError):  # its verdict was given while the answer was on its way
                await offer.studio.cancel(ticket)
            break
        lost = bool(errors) and not surely_undone(errors[-1])
        code = "submission_unknown" if lost else "upstream_unavailable"
        await self._failed(row, code, "No upstream could begin this video; you were not charged.", lost=lost)
        raise unavailable(*errors)

    # -- the loop -----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The background loop, under its lease, until cancelled."""
        while True:
            try:
                if await self._turn.held():
                    await self.round()
            except Exception:
                _log.exception("a round of jobs failed; trying again")
            await asyncio.sleep(TICK_S)

    async def close(self) -> None:
        """Give up what is under way, as it is written down, and the lease; `run` must have been cancelled."""
        for task in self._busy.values():
            task.cancel()
        await self.idle()
        await self._turn.drop()

    async def idle(self) -> None:
        """Until nothing that was begun here goes on."""
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    async def sweep(self) -> None:
        """Delete the content here that was kept for its time."""
        await asyncio.to_thread(self._content.sweep, time.time())

    async def round(self) -> int:
        """Set to work on what is due and nobody here is busy with; how many."""
        now = await asyncio.to_thread(self._database.now_ms)
        found = await asyncio.to_thread(jobs.due, self._database, now, now - LOST_MS, BATCH)
        fresh = [row for row in found if row.id not in self._busy]
        for row in fresh:
            task = self._busy[row.id] = asyncio.create_task(self._advance(row), name=row.id)
            task.add_done_callback(self._stepped)
        return len(fresh)

    def _stepped(self, task: asyncio.Task[None]) -> None:
        """What went wrong is logged; the job is due again."""
        self._busy.pop(task.get_name(), None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("job %s: a step failed; it is tried again", task.get_name(), exc_info=error)

    async def _advance(self, row: JobRow) -> None:
        """One step."""
        match row.state:
            case "new":
                await self._failed(row, "gateway_lost", "The gateway stopped before the video was begun.")
            case "sending":
                await self._failed(row, "submission_unknown", "The gateway lost the upstream's answer.", lost=True)
            case "running":
                await self._look(row)
            case _:
                await self._carry_out(row)

    async def _look(self, row: JobRow) -> None:
        studio = self._studios.get(row.provider)
        if studio is None:
            _log.error("job %s waits for %s, which is not active here", row.id, row.provider)
            await self._unheard(row)
            return
        assert row.ticket is not None
        try:
            look = await studio.look(row.ticket)
            made = await self._content.fetch(row.id, look.film) if look.film is not None else None
        except UpstreamError as error:
            _log.warning("job %s at %s: %s (%s)", row.id, row.provider, error.kind, error.status)
            await self._unheard(row)
            return
        if look.standing == "failed":
            why = look.error or UpstreamError("garbage", "the upstream failed")
            text = why.message if why.kind == "refused" else "The upstream failed; you were not charged."
            await self._failed(row, why.code or "upstream_failed", text)
        elif made is not None:
            await self._done(row, look, *made)
        else:
            await self._again(row, None, progress=_progress(row, look))

    async def _unheard(self, row: JobRow) -> None:
        now = await asyncio.to_thread(self._database.now_ms)
        if now - (row.sent_at or row.created_at) > VERDICT_MS:
            await self._failed(row, "no_verdict", "The upstream never said what became of it.", lost=True)
        else:
            await self._again(row, min(FIRST_LOOK_MS << min(row.looks + 1, 12), RETRY_MS_MAX), looks=row.looks + 1)

    async def _again(self, row: JobRow, after_ms: int | None, **changes: Any) -> None:
        """Look again later; the older the job, the later."""
        now = await asyncio.to_thread(self._database.now_ms)
        if after_ms is None:
            age = now - (row.sent_at or row.created_at)
            after_ms, changes = min(max(FIRST_LOOK_MS, age // 10), LOOK_MS_MAX), changes | {"looks": 0}
        await self._moved(row, "running", "running", due_at=now + after_ms, **changes)

    async def _done(self, row: JobRow, look: Look, media_type: str, size: int) -> None:
        """The film is here: decide, then charge."""
        now = await asyncio.to_thread(self._database.now_ms)
        route, counts = _route(row), orjson.loads(row.counts)
        if look.seconds is not None:
            counts = {unit: look.seconds if unit.startswith("second") else count for unit, count in counts.items()}
        paid = bill_of(route, Usage(counts, upstream_cost_pico=look.cost_pico), "complete")
        record = self._receipt(row, now).row(route, paid, Seen(finish="stop"), total_ms=now - row.created_at)
        verdict = orjson.dumps({"charge": paid.charge, "record": record}).decode()
        until = now + self._settings.videos.keep_s * 1000
        made: dict[str, Any] = {"media_type": media_type, "media_bytes": size, "content_until": until, "progress": 100}
        if await self._moved(row, "running", "settling", verdict=verdict, due_at=now, **made):
            self._gateway.meters.called(row.provider, paid, now - row.created_at)
            await self._carry_out(replace(row, state="settling", verdict=verdict, **made))

    async def _failed(self, row: JobRow, code: str, text: str, *, lost: bool = False) -> None:
        """Free. lost: the upstream may have made it, and billed the house for it."""
        now = await asyncio.to_thread(self._database.now_ms)
        unknown_nano = row.quoted_nano if lost else 0
        record = self._receipt(row, now).row(
            None, None, Seen(), total_ms=now - row.created_at, error_code=code, unknown_nano=unknown_nano
        )
        changes: dict[str, Any] = {
            "verdict": orjson.dumps({"record": record}).decode(),
            "error_code": code,
            "error": text[:2_000],
        }
        if await self._moved(row, row.state, "releasing", due_at=now, **changes):
            self._gateway.meters.failed(code)
            await self._carry_out(replace(row, state="releasing", **changes))

    async def _carry_out(self, row: JobRow) -> None:
        """Move the money by the verdict, and say that it is done. Asked twice, it moves once."""
        assert row.verdict is not None
        verdict, to = orjson.loads(row.verdict), (row.id, row.account_id, row.key_id)
        record = RequestRow(**verdict["record"])
        cost: int | None = None
        if row.state == "settling":
            cost = (await self._ledger.submit(Settle(*to, verdict["charge"], record))).amount
        else:
            await self._ledger.submit(Release(*to, record=record))
        now = await asyncio.to_thread(self._database.now_ms)
        after: jobs.State = "completed" if row.state == "settling" else "failed"
        ended = replace(row, state=after, ended_at=now, cost_nano=cost)
        body = orjson.dumps(shown(ended, self._settings.public_url or "")).decode() if row.hook_url else None
        hook = {"hook_body": body, "hook_due_at": now} if body else {}
        if await self._moved(row, row.state, after, ended_at=now, cost_nano=cost, **hook):
            self._changed()

    def _receipt(self, row: JobRow, now_ms: int) -> Receipt:
        """Dated by the verdict: the day on which the upstream's cost is booked must not be over."""
        return Receipt(row.id, row.account_id, row.key_id, now_ms, row.model, row.source, False, "video")

    async def _moved(self, row: JobRow, before: jobs.State, after: jobs.State, **changes: Any) -> bool:
        return await asyncio.to_thread(jobs.move, self._database, row.id, before, after, **changes)


def _progress(row: JobRow, look: Look) -> int:
    return max(row.progress, look.percent or 0)


def _asked(offer: Offer) -> dict[str, Any]:
    """What a job's row says of the offer that is asked."""
    route = offer.route
    numerator, denominator = route.markup
    price = {"table": dict(route.price.at(0)), "version": route.price.version, "markup": [numerator, denominator]}
    return {
        "provider": route.provider,
        "upstream_model": route.model,
        "counts": orjson.dumps(dict(offer.shot.counts)).decode(),
        "price": orjson.dumps(price).decode(),
    }


def _route(row: JobRow) -> Route:
    """The route as it was when the job was quoted."""
    price = orjson.loads(row.price)
    table = Price(((0, price["table"]),), price["version"])
    return Route(row.provider, row.upstream_model, table, Ratio(*price["markup"]))
