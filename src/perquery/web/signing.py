"""Getting an account, signing in with its credit id or a key of it, and signing out.

A secret is taken from a form, shown on the one page that answers its making, and is in no URL and no log.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.responses import Response

from perquery.accounts import Access, credential
from perquery.errors import Unauthorized
from perquery.store.sessions import Session
from perquery.web.site import Page, Visit

ACCOUNT: Final = "/account"
_LOCAL: Final = re.compile(r"/(?!/)[\w/.~-]*(\?[\w=&%.~+:/@,-]*)?", re.ASCII)


def onward(place: str) -> str:
    """Where to go after signing in: a path of ours, else the account."""
    return place if len(place) <= 2_000 and _LOCAL.fullmatch(place) else ACCOUNT


async def sign_in(visit: Visit) -> Response:
    """The form, and what it sends."""
    if visit.request.method != "POST":
        place = onward(visit.request.query_params.get("next", ACCOUNT))
        return visit.go(place) if visit.access else visit.page("sign_in.html", wrong=None, next=place)
    fields = await visit.fields()
    place = onward(fields.get("next", ACCOUNT))
    visit.require_sessions()
    try:
        access = await visit.accounts.sign_in(credential(fields.get("credential", "")), visit.address)
    except Unauthorized as error:
        return visit.page("sign_in.html", 401, wrong=error.message, next=place)
    return await visit.sign_in(visit.go(place), Session(access.account_id, access.key_id))


async def sign_out(visit: Visit) -> Response:
    return await visit.sign_out(visit.go("/"))


async def new_account(visit: Visit) -> Response:
    """Make an account and show its secrets, this once. Who has one goes there: a page loaded again makes no other."""
    if visit.access:
        return visit.go(ACCOUNT)
    visit.require_sessions()
    made = await visit.accounts.create(visit.address)
    visit.access = Access(made.account_id, None)
    page = visit.page("new_account.html", 201, secret=True, made=made)
    return await visit.sign_in(page, Session(made.account_id))


PAGES: Final = (
    Page("/sign-in", sign_in, ("GET", "POST")),
    Page("/sign-out", sign_out, ("POST",)),
    Page("/account/new", new_account, ("POST",)),
)
