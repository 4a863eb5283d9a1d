"""The table says what was measured, compares it and judges it by the targets."""

from __future__ import annotations

import pytest

from bench import report


def _row(measurement: str, figure: str) -> report.Row:
    return next(row for row in report.ROWS if (row.measurement, row.figure) == (measurement, figure))


def _two(figure: str, yardstick: float, own: float, failed: float = 0.0) -> dict[str, dict[str, float]]:
    return {"nginx": {figure: yardstick, "failed": 0.0}, "perquery": {figure: own, "failed": failed}}


@pytest.mark.parametrize(("own", "expected"), [(240.0, ("12.0 ×", "yes")), (260.0, ("13.0 ×", "no"))])
def test_cpu_is_judged_as_a_multiple_of_the_yardstick(own: float, expected: tuple[str, str]) -> None:
    assert report.verdict(_row("plain", "cpu_us"), _two("cpu_us", 20.0, own)) == expected


@pytest.mark.parametrize(("own", "expected"), [(11.0, ("+10.00", "yes")), (11.5, ("+10.50", "no"))])
def test_the_open_loop_is_judged_by_what_is_added(own: float, expected: tuple[str, str]) -> None:
    assert report.verdict(_row("open", "p99_ms"), _two("p99_ms", 1.0, own)) == expected


def test_nothing_is_reached_with_bad_answers() -> None:
    assert report.verdict(_row("plain", "cpu_us"), _two("cpu_us", 20.0, 1.0, failed=1.0)) == ("", "no")


def test_saturation_is_judged_by_itself() -> None:
    assert report.verdict(
        _row("saturation", "requests_per_s"), {"perquery": {"requests_per_s": 2_999.0, "failed": 0.0}}
    ) == ("", "no")


@pytest.mark.parametrize(
    "figures", [{"nginx": {"cpu_us": 20.0, "failed": 0.0}}, {"perquery": {"cpu_us": 20.0, "failed": 0.0}}]
)
def test_no_verdict_without_both_sides(figures: dict[str, dict[str, float]]) -> None:
    assert report.verdict(_row("plain", "cpu_us"), figures) == ("", "")


def test_medians_are_taken_and_failures_added_up() -> None:
    runs = [{"cpu_us": 3.0, "failed": 1.0}, {"cpu_us": 1.0, "failed": 0.0}, {"cpu_us": 2.0, "failed": 1.0}]
    summary = report.summarise({"plain": {"perquery": runs}})
    assert summary["plain"]["perquery"] == {"cpu_us": 2.0, "failed": 2.0}
    assert report.failures(summary) == [("perquery", "2 bad answers in plain")]


def test_the_table_has_a_column_a_subject_and_only_what_was_measured() -> None:
    figures = {row.figure: 1.0 for row in report.ROWS if row.measurement == "saturation"} | {"failed": 0.0}
    lines = report.table({"saturation": {"nginx": figures, "perquery": figures}}, ["nginx", "perquery"]).splitlines()
    assert lines[0] == "| figure | nginx | perquery | perquery to nginx | target | reached |"
    assert lines[2].endswith("| 1.00 | 1.00 |  | ≥ 3,000 | no |")
    assert len({line.count("|") for line in lines}) == 1


@pytest.mark.parametrize(("value", "text"), [(12_345.6, "12,346"), (12.34, "12.3"), (1.234, "1.23"), (-0.5, "-0.50")])
def test_numbers_keep_three_figures(value: float, text: str) -> None:
    assert report.number(value) == text


def test_every_target_has_a_judgement() -> None:
    assert all(bool(row.target) == bool(row.reached) for row in report.ROWS)
