"""Who calls the control plane: any credential for what is one's own, the credit id for the keys; always fresh."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import Request

from perquery.accounts import Access
from perquery.errors import Forbidden, Unauthorized
from perquery.routes.access import account_of, master_of
from tests.routes.desk import Desk, visit


def request_of(desk: Desk, headers: dict[str, str]) -> Request:
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "app": desk.app, "method": "GET", "path": "/", "headers": sent})


def test_a_key_and_a_credit_id_are_the_account(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[Access]:
        shown = [desk.master, {"api-key": desk.made.api_key}]
        return [await account_of(request_of(desk, headers)) for headers in shown]

    by_id, by_key = visit(tmp_path, body)
    assert (by_id.master, by_key.master, by_id.account_id == by_key.account_id) == (True, False, True)


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "sk-unknown"}, {"authorization": "Bearer "}])
def test_a_stranger_is_nobody(tmp_path: Path, headers: dict[str, str]) -> None:
    async def body(desk: Desk) -> None:
        with pytest.raises(Unauthorized):
            await account_of(request_of(desk, headers))
        with pytest.raises(Unauthorized):
            await master_of(request_of(desk, headers))

    visit(tmp_path, body)


def test_the_credit_id_is_the_master_wherever_it_stands(tmp_path: Path) -> None:
    async def body(desk: Desk) -> list[bool]:
        shown = [
            desk.master,
            desk.master | {"authorization": f"Bearer {desk.made.api_key}"},
            {"authorization": f"Bearer {desk.made.credit_id}"},
        ]
        return [(await master_of(request_of(desk, headers))).master for headers in shown]

    assert visit(tmp_path, body) == [True, True, True]


def test_a_key_is_not_the_master(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        with pytest.raises(Forbidden):
            await master_of(request_of(desk, {"x-api-key": desk.made.api_key}))

    visit(tmp_path, body)
