"""What is measured: a process that listens, and how it is addressed. Data only."""

from __future__ import annotations

from dataclasses import dataclass

from bench import bodies
from bench.load import Address


@dataclass(frozen=True, slots=True)
class Subject:
    """A server before the upstream. `pays`: its answers must hold their cost."""

    name: str
    pid: int
    plain: Address
    stream: Address
    key: str = "none"
    pays: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    model_prefix: str = ""

    def request(self, *, stream: bool, model: str = bodies.MODEL) -> tuple[Address, bytes]:
        """Where to send what."""
        address = self.stream if stream else self.plain
        body = bodies.ask(stream=stream, model=self.model_prefix + model)
        host = f"{address.host}:{address.port}"
        return address, bodies.request(host=host, key=self.key, body=body, headers=self.headers)
