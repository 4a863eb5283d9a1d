"""Offers: the joining of hosts' names, and what is not for sale."""

from __future__ import annotations

from perquery.calls import Price
from perquery.catalog import offers, overlay
from perquery.catalog.genai import Row

PRICE = Price(((0, {"input": 1, "output": 2}),))
HOSTS = """
as_of = 2026-11-23
not_chat = "embed"
[hosts.openrouter]
tables = ["openrouter"]
only = "/"
free = ":free$"
last = true
[hosts.groq]
tables = ["groq"]
join = { "llama-versatile" = "meta-llama/llama" }
[hosts.zai]
tables = ["zai"]
vendor = "z-ai"
[vendors]
zai-org = "z-ai"
"""


def row(provider: str, model: str, price: Price | None = PRICE, name: str | None = "A Name") -> Row:
    return Row(provider, model, name, None, "", (), price)


def gathered(*rows: Row, text: str = HOSTS) -> dict[tuple[str, str], offers.Offer]:
    return {(offer.host, offer.model): offer for offer in offers.gather(rows, overlay.load(text), "table 1")}


def test_names_meet_by_spelling() -> None:
    made = gathered(row("zai", "GLM-5.2"), row("groq", "zai-org/glm-5.2"), row("openrouter", "z-ai/glm-5.2"))
    assert {offer.id for offer in made.values()} == {"z-ai/glm-5.2"}


def test_names_meet_by_the_overlays_word() -> None:
    assert gathered(row("groq", "llama-versatile"))["groq", "llama-versatile"].id == "meta-llama/llama"


def test_two_vendors_models_of_one_name_are_never_joined() -> None:
    made = gathered(row("openrouter", "a/mini"), row("openrouter", "b/mini"), row("groq", "mini"))
    assert made["groq", "mini"].id == "groq/mini"


def test_a_model_of_one_host_alone_has_an_id_of_its_own() -> None:
    made = gathered(row("zai", "GLM-9"), row("groq", "zai-org/Other"))
    assert (made["zai", "GLM-9"].id, made["groq", "zai-org/Other"].id) == ("z-ai/glm-9", "z-ai/other")


def test_the_vendor_is_first_party() -> None:
    made = gathered(row("zai", "GLM-5.2"), row("openrouter", "z-ai/glm-5.2"))
    assert made["zai", "GLM-5.2"].first_party and made["openrouter", "z-ai/glm-5.2"].last


def test_what_is_not_for_chat_is_left_out() -> None:
    assert gathered(row("openrouter", "v/embed-1")) == {}


def test_without_price_it_is_sold_only_where_marked_free() -> None:
    made = gathered(row("openrouter", "v/m", None), row("openrouter", "v/m:free", None), row("groq", "m:free", None))
    assert [(key, offer.free) for key, offer in made.items()] == [(("openrouter", "v/m:free"), True)]


def test_a_free_row_that_the_table_no_longer_names_is_left_out() -> None:
    assert gathered(row("openrouter", "v/m:free", None, name=None)) == {}


def test_a_reviewed_row_takes_the_tables_place() -> None:
    text = HOSTS + (
        '[[rows]]\nhost = "zai"\nmodel = "GLM-5.2"\nid = "z-ai/glm-5.2"\nsource = "s"\n'
        'price = { input = "3", output = "4" }\n'
    )
    made = gathered(row("zai", "GLM-5.2"), text=text)
    assert made["zai", "GLM-5.2"].price == Price(
        ((0, {"input": 3_000_000, "output": 4_000_000}),), "overlay 2026-11-23"
    )


def test_extra_prices_are_added_to_the_tables() -> None:
    text = HOSTS + '[[extras]]\nhost = "zai"\nmodel = "m"\nsource = "s"\nprice = { search = "10" }\n'
    assert gathered(row("zai", "m"), text=text)["zai", "m"].price == Price(
        ((0, {"input": 1, "output": 2, "search": 10**10}),), "table 1"
    )
