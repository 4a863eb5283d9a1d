"""PPQ's public API, held fact by fact: docs/ppq-api.md numbers the facts and names the tests, which stand here.

Everything runs against one real gateway in sandbox mode. The description's code examples run as they are, by the
programs that they are written for, with nothing but the host and the key replaced. This module must never
read the description itself: the facts are ours.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest

from perquery import money
from perquery.catalog.build import build
from perquery.catalog.models import Catalog
from perquery.config import Settings
from perquery.rails.sandbox import pay
from perquery.store.drivers import wall_ms
from tests.serving import Answer, Gateway, environment, serving

ROOT: Final = Path(__file__).parents[1]
CHAT: Final = "/v1/chat/completions"
HELLO: Final = [{"role": "user", "content": "Hello!"}]
NOT_YET: Final = "not yet built: "
HOST: Final = "https://api.ppq.ai"
SITE: Final = "https://ppq.ai"
KEY: Final = "sk-YOUR_API_KEY"
NANO_USD: Final = Decimal("1e-9")

QUICKSTART_PYTHON: Final = """
import requests

api_key = "sk-YOUR_API_KEY"
url = "https://api.ppq.ai/v1/chat/completions"
headers = {
    "Content-Type": "application/json",
    "Authorization": f"Bearer {api_key}"
}
data = {
    "model": "claude-sonnet-4-5",
    "messages": [{"role": "user", "content": "Hello, how are you?"}]
}
response = requests.post(url, json=data, headers=headers)
print(response.json())
"""
QUICKSTART_CURL: Final = r"""
curl https://api.ppq.ai/v1/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer sk-YOUR_API_KEY" \
  -d '{
    "model": "claude-sonnet-4-5",
    "messages": [{"role": "user", "content": "Hello, how are you?"}]
  }'
"""
OPENAI_SDK: Final = """
from openai import OpenAI

client = OpenAI(
    api_key="sk-YOUR_API_KEY",
    base_url="https://api.ppq.ai/v1"
)
response = client.chat.completions.create(
    model="claude-sonnet-4-5",
    messages=[{"role": "user", "content": "Hello!"}]
)
print(response.choices[0].message.content)
"""
ONLINE_MODE: Final = r"""
curl -X POST https://api.ppq.ai/chat/completions \
  -H "Content-Type: application/json" \
  -H "Authorization: Bearer sk-YOUR_API_KEY" \
  -d '{
    "model": "claude-sonnet-4-5",
    "plugins": [{"id": "web", "max_results": 5}],
    "messages": [{"role": "user", "content": "What is the weather in Omaha, Nebraska right now?"}]
  }'
"""
TRANSCRIPTION: Final = """
from openai import OpenAI

client = OpenAI(api_key="sk-YOUR_API_KEY", base_url="https://ppq.ai/api/v1")
with open("audio.mp3", "rb") as f:
    transcription = client.audio.transcriptions.create(
        model="nova-3", file=f, response_format="json"
    )
print(transcription.text)
"""
SPEECH: Final = """
from openai import OpenAI

client = OpenAI(api_key="sk-YOUR_API_KEY", base_url="https://ppq.ai/api/v1")
response = client.audio.speech.create(
    model="deepgram_aura_2",
    voice="aura-2-arcas-en",
    input="Hello, welcome to PayPerQ!"
)
response.stream_to_file("output.mp3")
"""
MODELS: Final = "curl https://api.ppq.ai/v1/models"
LIGHTNING: Final = r"""
curl -X POST https://api.ppq.ai/topup/create/btc-lightning \
  -H "Authorization: Bearer sk-YOUR_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{"amount": 1000, "currency": "SATS"}'
"""
# What the description calls a model, and whose it is here.
NAMED: Final = {
    "GPT-5": "openai",
    "GPT-4o": "openai",
    "o3": "openai",
    "o4-mini": "openai",
    "Claude Opus 4.6": "anthropic",
    "Claude Sonnet 4.6": "anthropic",
    "Claude Sonnet 4.5": "anthropic",
    "Claude Haiku 4.5": "anthropic",
    "claude-sonnet-4-5": "anthropic",
    "Gemini 2.5 Pro": "google",
    "Gemini 2.5 Flash": "google",
    "Gemini 3 Pro": "google",
    "Grok 3": "x-ai",
    "Grok 3 Mini": "x-ai",
    "Mistral Large": "mistralai",
    "Codestral": "mistralai",
    "Llama 3": "meta-llama",
    "Llama 3.1": "meta-llama",
    "Deepseek-R1": "deepseek",
    "Deepseek-V3": "deepseek",
    "Qwen 3": "qwen",
}


@dataclass(frozen=True)
class Fact:
    """One row of docs/ppq-api.md. held_by: the id of a test, or what is not yet built."""

    number: int
    text: str
    held_by: str

    @property
    def built(self) -> bool:
        return not self.held_by.startswith(NOT_YET)


def facts() -> list[Fact]:
    rows = re.findall(r"^\| (\d+) \| (.+) \| (.+) \|$", (ROOT / "docs/ppq-api.md").read_text("utf-8"), re.MULTILINE)
    return [Fact(int(number), text, held_by.strip("`")) for number, text, held_by in rows]


def defined_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


# -- the account of the facts ----------------------------------------------------------------------------------


def test_facts_are_numbered_without_a_gap() -> None:
    assert [fact.number for fact in facts()] == list(range(1, len(facts()) + 1))


def test_every_fact_names_a_test_that_exists_or_what_is_not_yet_built(capsys: pytest.CaptureFixture[str]) -> None:
    held = [fact for fact in facts() if fact.built]
    for file, name in (fact.held_by.split("::") for fact in held):
        assert name in defined_in(ROOT / file), f"{file} has no test {name}"
    with capsys.disabled():
        print(f"\nPPQ's API: {len(held)} facts held, {len(facts()) - len(held)} not yet built")


def test_every_test_of_this_module_holds_a_fact() -> None:
    named = {fact.held_by.partition("::")[2] for fact in facts() if fact.built}
    about_the_page = {name for name in defined_in(Path(__file__)) if name.startswith(("test_facts_", "test_every_"))}
    tests = {name for name in defined_in(Path(__file__)) if name.startswith("test_")}
    assert tests - named <= about_the_page


# -- the gateway ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with serving(tmp_path_factory.mktemp("ppq") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def rich(gateway: Gateway) -> str:
    """The key of an account that has topped up its balance."""
    _, key = gateway.account()
    topped_up(gateway, key, 100, "USD")
    return key


@pytest.fixture
def key(gateway: Gateway) -> str:
    """The key of a new account, its balance zero."""
    return gateway.account()[1]


def exact(answer: Answer) -> Any:
    """The answer's JSON, its amounts as they were written."""
    return money.from_json(answer.body)


def balance(gateway: Gateway, key: str) -> Decimal:
    return Decimal(exact(gateway.call("POST", "/credits/balance", key=key))["balance"])


def chat(gateway: Gateway, key: str, path: str = CHAT, **fields: Any) -> Answer:
    body = {"model": "gpt-4o", "messages": HELLO, "max_tokens": 4} | fields
    return gateway.call("POST", path, body, key=key)


def topup(gateway: Gateway, key: str, amount: Any, currency: str) -> Answer:
    return gateway.call("POST", "/topup/create/btc-lightning", {"amount": amount, "currency": currency}, key=key)


def topped_up(gateway: Gateway, key: str, amount: Any, currency: str) -> None:
    """Make an invoice, pay it as `perquery sandbox pay` does, and ask whether it is settled."""
    made = topup(gateway, key, amount, currency).json()
    pay(gateway.data, made["lightning_invoice"], wall_ms)
    status = gateway.call("GET", f"/topup/status/{made['invoice_id']}", key=key).json()
    assert status["status"] == "Settled"


def run_block(block: str, gateway: Gateway, key: str, folder: Path) -> str:
    """Run a code example with host and key replaced; what it prints. curl leaves the headers in `folder`."""
    block = block.replace(HOST, gateway.base_url).replace(SITE, gateway.base_url).replace(KEY, key)
    assert "ppq.ai" not in block
    (folder / ".curlrc").write_text(f'silent\nshow-error\ndump-header = "{folder / "headers"}"\n', "utf-8")
    words = ["bash", "-ec", block] if "curl" in block else [sys.executable, "-c", block]
    around = environment() | {"CURL_HOME": str(folder), "NO_PROXY": "*", "no_proxy": "*", "PATH": os.environ["PATH"]}
    done = subprocess.run(words, env=around, cwd=folder, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- the code examples ------------------------------------------------------------------------------------------


def is_answer(body: Any) -> bool:
    return isinstance(body["choices"][0]["message"]["content"], str) and body["usage"]["cost"] > 0


def test_quickstart_in_python(gateway: Gateway, rich: str, tmp_path: Path) -> None:
    assert is_answer(ast.literal_eval(run_block(QUICKSTART_PYTHON, gateway, rich, tmp_path)))


def test_quickstart_with_curl(gateway: Gateway, rich: str, tmp_path: Path) -> None:
    assert is_answer(json.loads(run_block(QUICKSTART_CURL, gateway, rich, tmp_path)))


def test_openai_sdk(gateway: Gateway, rich: str, tmp_path: Path) -> None:
    assert run_block(OPENAI_SDK, gateway, rich, tmp_path).strip()


def test_online_mode_with_curl(gateway: Gateway, rich: str, tmp_path: Path) -> None:
    """Until there is web search, the caller gets an answer and is told that it was made without."""
    assert is_answer(json.loads(run_block(ONLINE_MODE, gateway, rich, tmp_path)))
    assert "x-perquery-dropped: web_search" in (tmp_path / "headers").read_text("utf-8").splitlines()


def test_models_with_curl(gateway: Gateway, tmp_path: Path) -> None:
    listed = json.loads(run_block(MODELS, gateway, "no key is needed", tmp_path))
    assert listed["object"] == "list"


def test_speech_and_transcription_with_the_openai_sdk(gateway: Gateway, rich: str, tmp_path: Path) -> None:
    """What the one example writes is what the other reads."""
    run_block(SPEECH, gateway, rich, tmp_path)
    (tmp_path / "output.mp3").rename(tmp_path / "audio.mp3")
    assert "welcome" in run_block(TRANSCRIPTION, gateway, rich, tmp_path).lower()


def test_lightning_topup_with_curl(gateway: Gateway, key: str, tmp_path: Path) -> None:
    made = json.loads(run_block(LIGHTNING, gateway, key, tmp_path))
    assert (made["amount"], made["currency"]) == (1000, "SATS")
    assert made["lightning_invoice"].startswith("lnbcrt10u1")  # 1,000 sats are 10 microbitcoin


# -- models -----------------------------------------------------------------------------------------------------


def test_more_than_five_hundred_models_have_prices(gateway: Gateway) -> None:
    listed = gateway.call("GET", "/v1/models").json()["data"]
    priced = [entry for entry in listed if entry["pricing"]["input_per_1M_tokens"] >= 0]
    assert len(priced) == len(listed) > 500


def test_every_vendor_is_listed(gateway: Gateway) -> None:
    listed = gateway.call("GET", "/v1/models").json()["data"]
    assert set(NAMED.values()) <= {entry["owned_by"] for entry in listed}


@pytest.mark.parametrize(("name", "vendor"), NAMED.items())
def test_a_named_model_answers(gateway: Gateway, rich: str, name: str, vendor: str) -> None:
    found = gateway.call("GET", f"/v1/models/{quote(name)}").json()
    answer = chat(gateway, rich, model=name, max_tokens=1)
    assert (found["owned_by"], answer.status) == (vendor, 200)
    assert answer.headers["x-perquery-model"].startswith(f"{vendor}/")


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return build(Settings(mode="sandbox"), ["local"], today=date(2027, 1, 1))


@pytest.mark.parametrize("on", [date(2025, 1, 1), date(2027, 1, 1), date(2030, 1, 1)])
def test_named_models_resolve_on_any_day(catalog: Catalog, on: date) -> None:
    """A model that its vendor retires is replaced by one that is not dearer."""
    assert [catalog.find(name, on).model.id.partition("/")[0] for name in NAMED] == list(NAMED.values())


# -- calls ------------------------------------------------------------------------------------------------------


def test_both_chat_paths_are_the_same(gateway: Gateway, rich: str) -> None:
    with_prefix, without = chat(gateway, rich), chat(gateway, rich, path="/chat/completions")
    assert (with_prefix.status, without.status) == (200, 200)
    assert with_prefix.json().keys() == without.json().keys()


def test_streams_are_server_sent_events(gateway: Gateway, rich: str) -> None:
    answer = chat(gateway, rich, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert {json.loads(event)["object"] for event in events[:-1]} == {"chat.completion.chunk"}
    assert events[-1] == "[DONE]"


def test_a_call_costs_what_it_used_and_nothing_else_costs(gateway: Gateway, rich: str) -> None:
    """The receipt adds up, and the balance is lower by exactly that."""
    before = balance(gateway, rich)
    usage = exact(chat(gateway, rich))["usage"]
    receipt = usage["cost_details"]
    for line in receipt["lines"]:
        assert line["usd"] == line["count"] * line["usd_per_million"] / Decimal(10**6)
    due = sum(line["usd"] for line in receipt["lines"]) * Decimal(receipt["markup"])
    assert usage["cost"] == due.quantize(NANO_USD, ROUND_CEILING)
    assert balance(gateway, rich) == before - usage["cost"]


def test_calls_are_not_rate_limited(gateway: Gateway, rich: str) -> None:
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: chat(gateway, rich, max_tokens=1).status, range(24)))
    assert answers == [200] * 24


REFUSALS: Final = {
    "malformed JSON": (400, b'{"model": ', {}),
    "a wrong parameter": (400, {"model": "gpt-4o", "messages": "hello"}, {}),
    "no key": (401, {"model": "gpt-4o", "messages": HELLO}, {"Authorization": ""}),
    "another scheme": (401, {"model": "gpt-4o", "messages": HELLO}, {"Authorization": "Basic c2stOg=="}),
    "an unknown key": (401, {"model": "gpt-4o", "messages": HELLO}, {"Authorization": "Bearer sk-nobody"}),
    "no balance": (402, {"model": "gpt-4o", "messages": HELLO}, {}),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_has_its_status_and_body(gateway: Gateway, key: str, case: str) -> None:
    status, body, headers = REFUSALS[case]
    answer = gateway.call("POST", CHAT, body, headers={"Authorization": f"Bearer {key}"} | headers)
    found = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    assert (found["status"], found["statusCode"]) == ("error", status)
    assert isinstance(found["message"], str)
    assert found["message"] == found["error"]["message"]


# -- accounts and top-ups ---------------------------------------------------------------------------------------


def test_an_account_comes_with_a_credit_id_and_a_key(gateway: Gateway) -> None:
    made = gateway.call("POST", "/accounts/create").json()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made["credit_id"])
    assert made["api_key"].startswith("sk-")


def test_the_balance_is_told_to_the_credit_id(gateway: Gateway) -> None:
    credit_id, key = gateway.account()
    topped_up(gateway, key, 500, "SATS")
    answer = gateway.call("POST", "/credits/balance", {"credit_id": credit_id})
    assert (answer.status, exact(answer)["balance"]) == (200, Decimal("0.525"))


AMOUNTS: Final = [(0.1, "USD"), (1000, "USD"), (0.000001, "BTC"), (0.01, "BTC"), (100, "SATS"), (1_000_000, "SATS")]


@pytest.mark.parametrize(("amount", "currency"), AMOUNTS)
def test_lightning_takes_amounts_up_to_its_limits(gateway: Gateway, key: str, amount: Any, currency: str) -> None:
    answer = topup(gateway, key, amount, currency)
    assert (answer.status, answer.json()["currency"]) == (201, currency)


@pytest.mark.parametrize(
    ("amount", "currency"), [(0.09, "USD"), (1000.01, "USD"), (99, "SATS"), (1_000_001, "SATS"), (5, "EUR")]
)
def test_lightning_refuses_amounts_outside_its_limits(gateway: Gateway, key: str, amount: Any, currency: str) -> None:
    assert topup(gateway, key, amount, currency).status == 400


def test_a_lightning_invoice_lives_for_15_minutes(gateway: Gateway, key: str) -> None:
    made = topup(gateway, key, 1, "USD").json()
    assert made["expires_at"] - made["created_at"] == 15 * 60


def test_lightning_gives_a_bonus_of_5_percent(gateway: Gateway, key: str) -> None:
    topped_up(gateway, key, 2, "USD")
    assert balance(gateway, key) == Decimal("2.10")


def test_an_invoice_tells_when_it_is_paid(gateway: Gateway, key: str) -> None:
    made = topup(gateway, key, 500, "SATS").json()
    path = f"/topup/status/{made['invoice_id']}"
    before = gateway.call("GET", path, key=key).json()
    pay(gateway.data, made["lightning_invoice"], wall_ms)
    after = gateway.call("GET", path, key=key).json()
    assert [(status["status"], status["amount_paid"]) for status in (before, after)] == [
        ("New", 0),
        ("Settled", 0.000005),
    ]


@pytest.mark.parametrize(("sent", "with_key", "status"), [({"amount": 1}, False, 401), (b"amount=1", True, 400)])
def test_a_topup_needs_a_key_and_a_json_body(
    gateway: Gateway, key: str, sent: Any, with_key: bool, status: int
) -> None:
    answer = gateway.call("POST", "/topup/create/btc-lightning", sent, key=key if with_key else None)
    assert answer.status == status


def test_payment_methods_are_listed_with_their_limits(gateway: Gateway) -> None:
    listed = gateway.call("GET", "/topup/payment-methods").json()
    (lightning,) = (method for method in listed["supported_methods"] if method["method"] == "btc-lightning")
    assert lightning["supported_currencies"] == ["USD", "BTC", "SATS"]
    assert lightning["limits"]["USD"] == {"min": 0.1, "max": 1000}
    assert lightning["limits"]["SATS"] == {"min": 100, "max": 1_000_000}
