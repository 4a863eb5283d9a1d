"""Fixtures that every test may ask for: a clean environment, databases fresh or migrated, a certificate made on
the spot.

Must never hold anything that only one area needs; that stands beside the area's tests.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from perquery.store.opening import open_database
from tests.postgres import Server, serving

# A busy machine, or the first run with its tables of characters yet to make, is no reason to fail.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No API key and no setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("PERQUERY_") or name.endswith(("_API_KEY", "_API_KEYS")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """This worker's server. Other tests share it: who restarts or crashes a server asks for `serving()`."""
    with serving() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Server) -> Iterator[str]:
    """The URL of a fresh, empty database, dropped after the test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("migrated") / "perquery.db"
    open_database(f"sqlite:///{path}", mode="sandbox").close()
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: Server) -> str:
    """The name of a database to copy."""
    url = postgres_server.create_database()
    open_database(url, mode="sandbox").close()
    return url.rpartition("/")[2]


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """The URL of a migrated sandbox database that nobody else uses: migrations run once a session, this is a copy."""
    shutil.copy(migrated_file, tmp_path / "perquery.db")
    return f"sqlite:///{tmp_path}/perquery.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def migrated_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The like of either kind, one after the other."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    template = request.getfixturevalue("migrated_postgres")
    server: Server = request.getfixturevalue("postgres_server")
    url = server.create_database(template)
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) for localhost and 127.0.0.1, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", str(key), "-out", str(cert)]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return cert, key


@pytest.fixture
def server_tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context
