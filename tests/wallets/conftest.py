"""The one LNbits of a run: it takes half a minute to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wallets.lnbits import Lnbits, installed


@pytest.fixture(scope="session")
def lnbits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lnbits]:
    """Its wallets have been used by other tests; who kills it starts it again."""
    yield from installed(tmp_path_factory.mktemp("lnbits"))
