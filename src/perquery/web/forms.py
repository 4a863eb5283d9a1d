"""A page's form as sent: small, of known fields. Must never hold more than a bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from perquery.errors import BadRequest
from perquery.routes.bodies import whole

FIELDS_MAX: Final = 50


async def fields_of(request: Request) -> Mapping[str, str]:
    """The form's fields, blanks around them removed; of one that comes twice the last. Raises BadRequest, TooLarge."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = await whole(request)
    if kind != "application/x-www-form-urlencoded" and raw:
        raise BadRequest("This page takes a form.")
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:
        raise BadRequest("The form could not be read.") from error
    return {name: value.strip() for name, value in pairs}
