"""Data only: what a request is (Call, Preferences; Work, where it is not chat), what an upstream is asked and says
(Ask, Event), what was used (Usage), what it costs (Price, Route, Line).

Shapes that the layers hand to each other; no I/O, no decisions, nothing that knows HTTP or SQL. Token counts
are disjoint buckets, so that nothing is billed twice; prices are integer pico-USD per unit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from perquery.errors import PerQueryError, UpstreamError
from perquery.money import ONE, Ratio

Unit: TypeAlias = Literal[
    "input",  # prompt tokens that are in no other bucket
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "output",  # completion tokens that are in no other bucket
    "reasoning",
    "audio_input",
    "audio_output",
    "audio_cache_read",
    "image_input",
    "image_output",
    "search",  # one web search
    "request",  # a fixed fee for the request
    "second",  # of sound, or of video where the resolution decides nothing
    "second_480p",  # of video in that resolution
    "second_720p",
    "second_1080p",
    "second_1440p",
    "second_2160p",
    "character",
    "image",
    "image_2k",  # in that resolution, where it decides the price
    "image_4k",
    "megapixel",
]
INPUT_UNITS: tuple[Unit, ...] = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "audio_input",
    "audio_cache_read",
    "image_input",
)
OUTPUT_UNITS: tuple[Unit, ...] = ("output", "reasoning", "audio_output", "image_output")
# A bucket without a price of its own is billed at another's: (bucket, the bucket that stands for it).
STANDS_FOR: dict[Unit, Unit] = {
    "cache_read": "input",
    "cache_write_5m": "input",
    "cache_write_1h": "cache_write_5m",
    "audio_input": "input",
    "audio_cache_read": "cache_read",
    "image_input": "input",
    "reasoning": "output",
    "audio_output": "output",
    "image_output": "output",
}


@dataclass(slots=True)
class Usage:
    """What one upstream call used. `upstream_cost_pico` is the upstream's own figure, where it gives one.

    turns: where the upstream had to be asked again for one answer, the counts of each time; `counts` is their sum.
    """

    counts: Mapping[Unit, int]
    estimated: bool = False
    upstream_cost_pico: int | None = None
    turns: tuple[Mapping[Unit, int], ...] = ()

    def total(self, units: tuple[Unit, ...]) -> int:
        total = 0
        for unit, count in self.counts.items():
            if unit in units:
                total += count
        return total


@dataclass(frozen=True, slots=True)
class Price:
    """Pico-USD per unit, in tiers: (from this many input tokens on, prices of all units), ascending, first 0."""

    tiers: tuple[tuple[int, Mapping[Unit, int]], ...]
    version: str = ""

    def at(self, input_tokens: int) -> Mapping[Unit, int]:
        chosen = self.tiers[0][1]
        for start, prices in self.tiers:
            if input_tokens >= start:
                chosen = prices
        return chosen

    def of(self, counts: Mapping[Unit, int]) -> Mapping[Unit, int]:
        """The prices for what was used: its tier by all input tokens together."""
        if len(self.tiers) == 1:  # as nearly every price
            return self.tiers[0][1]
        return self.at(sum(count for unit, count in counts.items() if unit in INPUT_UNITS))


@dataclass(slots=True)
class Line:
    """One line of a receipt: what, how many, at which price, what it comes to (pico-USD, before markup).

    marked_up: the price is the caller's already.
    """

    unit: Unit
    count: int
    pico_per_unit: int
    pico: int
    marked_up: bool = False


InResponses: TypeAlias = Literal["", "tools", "only"]


@dataclass(frozen=True, slots=True)
class Route:
    """One way to serve a model: an upstream, its name for the model, the upstream's price, our markup on it.

    hides_output: billed output (reasoning) that the stream does not show, so the worst case is held.
    bills_reported_cost: the caller's price follows the cost that the upstream reports (never below 0).
    responses: what the upstream answers for this model in Responses alone: calls with tools, or all.
    """

    provider: str
    model: str
    price: Price
    markup: Ratio = ONE
    hides_output: bool = False
    bills_reported_cost: bool = False
    min_output_tokens: int = 1
    responses: InResponses = ""


Kind: TypeAlias = Literal["chat", "embedding", "rerank", "moderation", "stt", "tts", "image", "video"]
Dialect: TypeAlias = Literal["openai-chat", "openai-completions", "openai-responses", "anthropic", "gemini"]


@dataclass(frozen=True, slots=True)
class Search:
    """A caller's wish for web search. demanded: surely, else as the model decides.

    results: so many of a search. uses: at most so many searches, where the model decides. context: low, medium or
    high. allowed, blocked: domains. place: of the user, as the vendors have it (city, region, country, timezone).
    """

    demanded: bool
    results: int
    uses: int
    context: str | None = None
    allowed: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    place: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """A page that a search found. text: what of it belongs to the question."""

    url: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What one search of ours found, and what it cost the house (pico-USD)."""

    sources: tuple[Source, ...]
    cost_pico: int


Sort: TypeAlias = Literal["price", "throughput", "latency"]


@dataclass(frozen=True, slots=True)
class Preferences:
    """Which routes a caller wants, and which models instead of the first.

    order, only, ignore: names of upstreams in lower case. price_max: atto-USD per unit, what the caller would pay.
    keeps_nothing: only upstreams that are known to keep nothing of a request; the field that says so, or "".
    takes_all: only those that take every parameter.
    """

    models: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    allow_fallbacks: bool = True
    sort: Sort | None = None
    price_max: Mapping[Unit, int] = field(default_factory=dict)
    keeps_nothing: Literal["zdr", "data_collection", ""] = ""
    takes_all: bool = False


@dataclass(slots=True)
class Call:
    """A caller's request, parsed by its dialect. Sizes bound the input; `cap_tokens` is the caller's own cap.

    body: in the internal form, a Chat Completions body with a few more fields (docs/dialects.md). native: as the
    caller wrote it, where that is another dialect, for an upstream that speaks the same. forward: headers that such
    an upstream is to see. preferences: None where the caller states none. search: the wish for it, where there is
    one. caching: whether we may mark the prompt for the upstream's cache.
    """

    dialect: Dialect
    model: str
    body: dict[str, Any]
    raw: bytes
    stream: bool = False
    wants_usage: bool = False
    cap_tokens: int | None = None
    choices: int = 1
    text_bytes: int = 0
    images: int = 0
    strict_cap: bool = False
    caching: bool = True
    dropped: list[str] = field(default_factory=list)
    native: dict[str, Any] | None = None
    forward: dict[str, str] = field(default_factory=dict)
    search: Search | None = None
    preferences: Preferences | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that a caller sent. field: of the form; name: what the caller calls it, which says nothing of its kind."""

    field: str
    name: str
    data: bytes


@dataclass(slots=True)
class Work:
    """A caller's request for what is not chat (docs/modalities.md), parsed by its dialect.

    body: in OpenAI's shape for that endpoint, checked; files: beside it. most: the most that may be used at a route, in
    every unit that its price may name: what is held; it may refuse what the route's model cannot do. likely: what is
    probably used, for an answer without figures. render: from the answer in OpenAI's shape and what it cost to the
    bytes that the caller gets, of media_type. streamed: what comes is passed on as it is instead. retried: whether
    another may be asked where an upstream failed that may have done it; what is costly to do twice is not.
    """

    kind: Kind
    model: str
    body: dict[str, Any]
    most: Callable[[Route], Mapping[Unit, int]]
    likely: Mapping[Unit, int]
    render: Callable[[dict[str, Any], Figures], bytes]
    media_type: str = "application/json"
    files: tuple[Upload, ...] = ()
    streamed: bool = False
    retried: bool = False
    dropped: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """A body on its way to one upstream: in chat form, or native where the upstream speaks the caller's dialect.

    dialect: that the upstream is to be asked in. caching: whether its prompt is to be marked for the upstream's cache.
    text_bytes: of the whole input. safety_id: what upstreams know the account by; None: nothing is said.
    """

    body: dict[str, Any]
    dialect: Dialect
    native: bool
    caching: bool
    text_bytes: int
    safety_id: str | None


@dataclass(slots=True)
class Ask:
    """What one provider is asked: the body in a dialect of the provider's, the upstream's model name in it.

    work: what is to be done instead, where it is not chat; its body is made by whoever speaks to the provider.

    native: the caller speaks that dialect too, so the answer's events are wanted as they come; else in chat form.
    headers: the caller's own that go along. go_on: where the upstream pauses its turn after having used so much,
    whether it is to be asked to go on; None: nobody decides that, and the answer ends there. customs: the names of
    the caller's custom tools, whose calls are to come back as such.
    """

    model: str
    body: bytes
    stream: bool
    timeout_s: float
    idle_timeout_s: float
    native: bool = False
    dialect: Dialect = "openai-chat"
    headers: Mapping[str, str] = field(default_factory=dict)
    go_on: Callable[[Usage], Awaitable[bool]] | None = None
    work: Work | None = None
    customs: frozenset[str] = frozenset()


@dataclass(slots=True)
class Event:
    """One event of an upstream's answer; a plain answer is one event with `whole=True`. Of work other than chat, `data`
    is what is passed on (bytes of sound, say) and `parsed` the whole answer in OpenAI's shape, the last has `finish`.

    data: the JSON payload as the upstream sent it (without SSE framing). parsed: the same as an object, where
    somebody had to look inside. text_bytes: UTF-8 bytes of output it delivers (text, reasoning, tool calls). usage:
    the figures so far (the last one counts, they are never summed). given: what the upstream has counted or done so
    far beside the output (input, searches), where it says so before its figures. finish: the finish reason. error:
    the upstream failed within its answer; nothing follows.
    """

    data: bytes
    text_bytes: int = 0
    parsed: dict[str, Any] | None = None
    usage: Usage | None = None
    finish: str | None = None
    error: UpstreamError | None = None
    whole: bool = False
    given: Mapping[Unit, int] | None = None


class Reply(Protocol):
    """An upstream's answer in progress: iterate what has arrived, as batches of events (one or more each, so that
    what came in one piece can leave in one piece); `close()` drops the connection at once, also from another task.

    request_id: what the upstream calls the request, in the head of its answer.
    """

    @property
    def request_id(self) -> str | None: ...

    def __aiter__(self) -> AsyncIterator[list[Event]]: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Figures:
    """What a settled call used and cost, for the end of its answer.

    upstream: the upstream's own usage object, where it sent one. cost: `cost` and `cost_details`, to be merged into
    the usage that the caller gets. comment: the same in short, for streams whose caller wants no usage.
    """

    counts: Mapping[Unit, int]
    upstream: dict[str, Any] | None
    cost: dict[str, Any]
    comment: str


class Writer(Protocol):
    """The caller's side of one answer, in the caller's dialect: events in, bytes out.

    What carries usage or ends the stream is held back until `tail`, for the price is known only after settlement.
    """

    def begin(self, *, native: bool) -> None:
        """Before the first event. native: events are in the caller's own dialect, else in chat form."""

    def event(self, event: Event) -> bytes:
        """What leaves now for this event of a stream."""

    def tail(self, figures: Figures, *, cut: bool) -> bytes:
        """The end of a stream. cut: by us, at the balance."""

    def whole(self, answer: dict[str, Any], figures: Figures, *, cut: bool) -> bytes:
        """The body of a plain answer."""

    def broken(self, error: PerQueryError) -> bytes:
        """An error within the stream, and its end."""


class Upstream(Protocol):
    """A provider: one verb. Returns once the upstream has answered 200; raises UpstreamError before that.

    name: as in routes. dialects: that it can be asked in, the usual one first. kinds: of work that it does beside
    chat. cancel_stops_billing: whether dropping the connection ends the upstream's bill. keeps_nothing: whether it is
    known to keep nothing of a request.
    """

    @property
    def name(self) -> str: ...

    @property
    def dialects(self) -> tuple[Dialect, ...]: ...

    @property
    def kinds(self) -> frozenset[Kind]: ...

    @property
    def cancel_stops_billing(self) -> bool: ...

    @property
    def keeps_nothing(self) -> bool: ...

    def send(self, ask: Ask) -> Awaitable[Reply]: ...
