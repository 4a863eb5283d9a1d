"""What callers say of routes: read exactly, and wrong types named."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from perquery.dialects import shapes
from perquery.dialects.preferences import preferences
from perquery.errors import BadRequest

BASE: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}


def read(**provider: Any) -> Any:
    found = preferences({"provider": provider}, [])
    assert found is not None
    return found


@pytest.mark.parametrize("body", [{}, {"provider": {}}, {"provider": None, "models": []}, {"route": "fallback"}])
def test_what_wishes_nothing_is_none(body: dict[str, Any]) -> None:
    assert preferences(body, []) is None


def test_names_in_any_case() -> None:
    found = read(order=["B", "a"], only=["A"], ignore=["C"])
    assert (found.order, found.only, found.ignore) == (("b", "a"), {"a"}, {"c"})


@pytest.mark.parametrize(
    ("usd", "atto"),
    [
        (b"1.1", 1_100_000_000_000),
        (b'"1.1"', 1_100_000_000_000),
        (b"3", 3_000_000_000_000),
        (b"0.1", 100_000_000_000),
        (b"1e-7", 100_000),
        (b"1E2", 100_000_000_000_000),
        (b"0", 0),
        (b"0.0000000000001", 0),
        (b'"123456789012345678.123456789012345678"', 123456789012345678123456789012),
    ],
)
def test_ceilings_are_exact(usd: bytes, atto: int) -> None:
    body = orjson.loads(b'{"provider": {"max_price": {"prompt": ' + usd + b', "image": null}}}')
    found = preferences(body, [])
    assert found is not None and found.price_max == {"input": atto}


def test_ceilings_of_a_request_and_an_image_are_per_one() -> None:
    assert read(max_price={"request": "0.01", "image": 2, "completion": 4}).price_max == {
        "request": 10**16,
        "image": 2 * 10**18,
        "output": 4 * 10**12,
    }


NO_OBJECT: list[Any] = [1, "x", [], ["x"], True, 0, "", False]
NO_NAMES: list[Any] = ["a", [1], [""], {"a": 1}]
NO_MAP: list[Any] = [1, "1", []]
NO_ROUTE: list[Any] = ["cheapest", 1, {}, []]
NO_SORT: list[Any] = ["cheap", 1, ["price"], {"by": "x"}, {"by": []}]
NO_AMOUNT: list[Any] = [-1, "x", True, [], {}, "1e3", 1e300, "-0.1", ""]
WRONG: list[tuple[dict[str, Any], str]] = [
    *(({"provider": value}, "provider") for value in NO_OBJECT),
    *(({"provider": {"order": value}}, "provider.order") for value in [*NO_NAMES, ["a"] * 101]),
    ({"provider": {"only": "a"}}, "provider.only"),
    ({"provider": {"ignore": [None]}}, "provider.ignore"),
    ({"provider": {"allow_fallbacks": "false"}}, "provider.allow_fallbacks"),
    ({"provider": {"require_parameters": 1}}, "provider.require_parameters"),
    ({"provider": {"zdr": "yes"}}, "provider.zdr"),
    ({"provider": {"data_collection": "never"}}, "provider.data_collection"),
    ({"provider": {"data_collection": True}}, "provider.data_collection"),
    *(({"provider": {"sort": value}}, "provider.sort") for value in NO_SORT),
    *(({"provider": {"max_price": value}}, "provider.max_price") for value in NO_MAP),
    *(({"provider": {"max_price": {"prompt": value}}}, "provider.max_price.prompt") for value in NO_AMOUNT),
    ({"provider": {"max_price": {"audio": 1}}}, "provider.max_price.audio"),
    *(({"models": value}, "models") for value in [*NO_NAMES, ["a"] * 5]),
    *(({"route": value}, "route") for value in NO_ROUTE),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=repr)
def test_wrong_types_are_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        preferences(body, [])
    assert caught.value.param == param


def test_what_has_no_effect_is_told_and_cannot_break_a_header() -> None:
    dropped = ["before"]
    preferences({"provider": {"quantizations": 1, "a\r\nb": 1, "é": 1, "only": ["x"], "experimental": None}}, dropped)
    assert dropped == ["before", "provider.quantizations"]


@pytest.mark.parametrize("shape", [shapes.CHAT, shapes.MESSAGES], ids=["chat", "messages"])
def test_no_upstream_sees_it(shape: shapes.Shape) -> None:
    said = {"provider": {"only": ["a"]}, "models": ["n"], "route": "fallback", "session_id": "s"}
    call = shape.parse(orjson.dumps(BASE | said))
    assert call.preferences is not None and call.preferences.models == ("n",)
    assert call.body["session_id"] == "s"
    assert not said.keys() & (call.native or {}).keys()


def test_the_first_of_models_may_stand_for_the_model() -> None:
    body = {name: value for name, value in BASE.items() if name != "model"} | {"models": ["n", "o"]}
    assert shapes.CHAT.parse(orjson.dumps(body)).model == "n"
    assert shapes.MESSAGES.parse(orjson.dumps(body)).model == "n"
    assert shapes.RESPONSES.parse(orjson.dumps({"models": ["n"], "input": "x"})).model == "n"
