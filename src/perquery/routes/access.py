"""Who calls, as dependencies of the control plane's routes. Always read fresh: these routes take no hold."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Request

from perquery.accounts import RECOGNISED, Access, Accounts, Credential, credentials_in, credit_id_in
from perquery.errors import Forbidden

__all__ = ["SECURED", "Access", "Caller", "Master", "account_of", "accounts_of", "authenticated", "master_of"]

# For the OpenAPI document: any of the three.
SECURED: Final[dict[str, Any]] = {"security": [{"bearer": []}, {"creditId": []}, {"apiKey": []}]}


def accounts_of(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.accounts
    return accounts


async def authenticated(request: Request, given: Credential | None) -> Access:
    """Whom a page of ours has recognised, else whose credential it is, read fresh. Raises Unauthorized."""
    recognised: Access | None = request.scope.get(RECOGNISED)
    return recognised or await accounts_of(request).authenticate(given)


async def account_of(request: Request) -> Access:
    """The caller, by any of the headers."""
    return await authenticated(request, credentials_in(request.scope["headers"]))


async def master_of(request: Request) -> Access:
    """The account's owner, by the credit id, also where a key is sent beside it.

    A key alone is not enough: one with a limit could lift it, or make itself another.
    """
    headers = request.scope["headers"]
    access = await authenticated(request, credit_id_in(headers) or credentials_in(headers))
    if not access.master:
        raise Forbidden("Keys are managed with the credit id: send it as x-credit-id.", code="credit_id_required")
    return access


Caller = Annotated[Access, Depends(account_of)]
Master = Annotated[Access, Depends(master_of)]
