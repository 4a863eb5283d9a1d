"""What a caller says of routes, in OpenRouter's words: `provider`, `models`, `route`. Pure.

It reads and checks; which routes are left, and in which order, is decided in metering/routing. What is not known
here is told to the caller as dropped, but for a ceiling of a price: that is obeyed or refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, get_args

from perquery import money
from perquery.calls import Preferences, Sort, Unit
from perquery.dialects.fields import EXPECTED, Check, check_types, is_flag, is_object, is_text, require, wrong

ASKED: Final = frozenset(("provider", "models", "route"))
OURS: Final = ASKED | {"session_id", "prompt_caching"}  # never an upstream's to see
MODELS_MAX: Final = 4
_NAMES_MAX: Final = 100
_SORTS: Final = get_args(Sort)
# Their names of prices → ours, and the digits that make atto-USD per unit of their figure.
_PRICES: Final[Mapping[str, tuple[Unit, int]]] = {
    "prompt": ("input", 12),  # USD per million tokens
    "completion": ("output", 12),
    "request": ("request", 18),
    "image": ("image", 18),
}
_LISTS: Final = ("order", "only", "ignore")
_TYPES: Final[Mapping[str, Check]] = {
    "allow_fallbacks": is_flag,
    "require_parameters": is_flag,
    "zdr": is_flag,
    "data_collection": is_text,
    "max_price": is_object,
}
_KNOWN: Final = frozenset((*_TYPES, *_LISTS, "sort"))


def named(body: Mapping[str, Any]) -> Any:
    """What stands in the place of the model's name; where there is none, the first of `models`."""
    model = body.get("model")
    if model is None and isinstance(models := body.get("models"), list) and models:
        return models[0]
    return model


def preferences(body: Mapping[str, Any], dropped: list[str]) -> Preferences | None:
    """The preferences in a body, None where it states none; fields that mean nothing here are added to `dropped`.

    Raises BadRequest, naming the field.
    """
    require(body.get("route") in (None, "fallback"), "route", '"fallback", or left out')
    models = _texts(body.get("models"), "models", MODELS_MAX)
    check_types(body, {"provider": is_object})
    given: dict[str, Any] = body.get("provider") or {}
    provider = {name: value for name, value in given.items() if value is not None}
    if not provider and not models:
        return None
    for name in provider.keys() & _TYPES.keys():
        require(_TYPES[name](provider[name]), f"provider.{name}", EXPECTED[_TYPES[name]])
    order, only, ignore = (_texts(provider.get(name), f"provider.{name}", _NAMES_MAX) for name in _LISTS)
    collection = provider.get("data_collection", "allow")
    require(collection in ("allow", "deny"), "provider.data_collection", '"allow" or "deny"')
    dropped += [
        f"provider.{name[:40]}" for name in sorted(provider.keys() - _KNOWN) if name.isascii() and name.isidentifier()
    ]
    return Preferences(
        models=models,
        order=tuple(name.lower() for name in order),
        only=frozenset(name.lower() for name in only),
        ignore=frozenset(name.lower() for name in ignore),
        allow_fallbacks=provider.get("allow_fallbacks", True),
        sort=_sort(provider.get("sort")),
        price_max=_ceilings(provider.get("max_price", {})),
        keeps_nothing="zdr" if provider.get("zdr") else "data_collection" if collection == "deny" else "",
        takes_all=provider.get("require_parameters", False),
    )


def _texts(value: Any, param: str, most: int) -> tuple[str, ...]:
    if value is None:
        return ()
    ok = isinstance(value, list) and len(value) <= most and all(isinstance(item, str) and item for item in value)
    require(ok, param, f"an array of at most {most} names")
    return tuple(item[:200] for item in value)


def _sort(value: Any) -> Sort | None:
    if isinstance(value, dict):  # their longer form: {"by": "price"}
        value = value.get("by")
    require(value is None or value in _SORTS, "provider.sort", f"one of {', '.join(_SORTS)}")
    found: Sort | None = value
    return found


def _ceilings(given: Mapping[str, Any]) -> dict[Unit, int]:
    """Exact: what a JSON number was written as is the shortest decimal that reads as the same."""
    ceilings: dict[Unit, int] = {}
    for name, value in given.items():
        param = f"provider.max_price.{name[:40]}"
        if name not in _PRICES:
            raise wrong(param, f"left out: prices are of {', '.join(_PRICES)}")
        if value is None:
            continue
        unit, digits = _PRICES[name]
        try:
            usd = money.decimal(Decimal(repr(value)) if isinstance(value, float) else value)
        except (ValueError, TypeError) as error:
            raise wrong(param, "an amount of USD, such as 1.5") from error
        require(usd >= 0, param, "an amount of USD, such as 1.5")
        numerator, denominator = usd.as_integer_ratio()
        ceilings[unit] = numerator * 10**digits // denominator
    return ceilings
