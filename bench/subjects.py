"""What is measured: a process that listens, and how it is addressed. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from bench import bodies, messages
from bench.load import Address


@dataclass(frozen=True, slots=True)
class Subject:
    """A server before the upstream.

    pays: its answers must hold their cost. one_process: its memory is that of `pid` alone, without children
    (the gateway's local model is one); CPU is always the whole tree's.
    """

    name: str
    pid: int
    plain: Address
    stream: Address
    key: str = "none"
    pays: bool = False
    one_process: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    path: str = bodies.PATH
    model_prefix: str = ""

    def request(self, *, stream: bool, model: str = bodies.MODEL, shape: str = "chat") -> tuple[Address, bytes]:
        """Where to send what. shape: chat | messages, of the caller."""
        address = self.stream if stream else self.plain
        ask = messages.ask if shape == "messages" else bodies.ask
        path = messages.PATH if shape == "messages" else self.path
        body = ask(stream=stream, model=self.model_prefix + model)
        host = f"{address.host}:{address.port}"
        return address, bodies.request(host=host, path=path, key=self.key, body=body, headers=self.headers)
