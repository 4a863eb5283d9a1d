"""Ids: unique and in the order of time."""

from __future__ import annotations

from uuid import UUID

from perquery.metering.ids import first_id, new_id


def test_an_id_is_a_uuid_of_version_seven() -> None:
    id, at_ms = new_id(1_790_000_000_123)
    value = UUID(hex=id.removeprefix("gen-"))
    assert (value.version, value.variant) == (7, "specified in RFC 4122")
    assert (value.int >> 80, at_ms) == (1_790_000_000_123, 1_790_000_000_123)


def test_ids_sort_by_time_and_differ() -> None:
    made = [new_id(ms)[0] for ms in (5, 6, 7)]
    assert sorted(made) == made
    assert len({new_id(1)[0] for _ in range(1000)}) == 1000
    assert first_id(6) <= made[1] < first_id(7)
