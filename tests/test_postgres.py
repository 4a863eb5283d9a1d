"""The private PostgreSQL server of the tests starts, answers, and keeps what it promised through a crash."""

from __future__ import annotations

import psycopg
import pytest

from tests.postgres import serving


def test_fresh_database_answers_and_is_empty(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_committed_rows_survive_a_crash_and_a_restart() -> None:
    with serving() as server:
        url = server.create_database()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url)
        server.restart()
        server.restart()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT x FROM kept").fetchone() == (1,)
