"""Charts: well-formed SVG that says in words what it draws, whatever the figures are."""

import json
import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from markupsafe import Markup

from audit.errors import VerificationError
from audit.reports import charts, heat_map, svg
from audit.reports.records import CountLine, ProviderStanding
from tests.unit.reports.sample_report import make_sample
from tests.unit.reports.sample_verdicts import tokens_content

SVG = "{http://www.w3.org/2000/svg}"


def parsed(drawing: Markup) -> ElementTree.Element:
    root = ElementTree.fromstring(str(drawing))  # noqa: S314  our own
    title, text = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None and title.text and text is not None and text.text
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {text.attrib['id']}"
    return root


def described(drawing: Markup) -> str:
    return parsed(drawing).findtext(f"{SVG}desc") or ""


def failing() -> ProviderStanding:
    return make_sample().report.standings.items[2]


def test_evidence_is_drawn_with_its_threshold_and_told_with_its_entries() -> None:
    standing = failing()
    drawing = charts.evidence_chart(standing, "chart")
    root = parsed(drawing)
    assert "threshold 4" in [text.text for text in root.iter(f"{SVG}text")]
    line = root.find(f"{SVG}polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == len(standing.points)
    last = standing.points[-1]
    assert f"entry {last.last_index:,}" in described(drawing)
    assert f"{standing.log10_e_value:.3g}" in described(drawing)


def test_evidence_rises_upwards_and_later_lies_to_the_right() -> None:
    drawing = charts.evidence_chart(failing(), "chart")
    line = parsed(drawing).find(f"{SVG}polyline")
    assert line is not None
    places = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert places[-1][1] < places[0][1]


@pytest.mark.parametrize("odd", [math.inf, math.nan, -math.inf])
def test_points_that_are_not_finite_are_left_out(odd: float) -> None:
    standing = failing()
    points = (replace(standing.points[0], log10_e_value=odd), *standing.points[1:])
    line = parsed(charts.evidence_chart(replace(standing, points=points), "chart")).find(
        f"{SVG}polyline"
    )
    assert line is not None
    assert len(line.attrib["points"].split()) == len(points) - 1


def test_evidence_without_points_says_so() -> None:
    drawing = charts.evidence_chart(replace(failing(), points=()), "chart")
    assert "No evidence was accumulated" in str(drawing)


def test_evidence_of_a_single_point_and_of_times_that_are_none() -> None:
    standing = failing()
    parsed(charts.evidence_chart(replace(standing, points=standing.points[:1]), "chart"))
    odd = tuple(replace(point, last_verified_at="yesterday") for point in standing.points[:5])
    drawing = charts.evidence_chart(replace(standing, points=odd), "chart")
    assert "in the order of the log" in str(drawing)


def test_the_bar_keeps_the_rarest_verdict_visible() -> None:
    drawing = charts.verdict_bar(999_999, 0, 1)
    widths = [float(rect.attrib["width"]) for rect in parsed(drawing).iter(f"{SVG}rect")]
    assert min(widths) >= 3.0
    assert described(drawing) == "PASSED 999,999, INCONCLUSIVE 0, FAILED 1 of 1,000,000 verdicts."
    assert "no verdicts" in str(charts.verdict_bar(0, 0, 0))


def test_columns_of_a_day_add_up() -> None:
    day = CountLine(
        label="2026-11-03", num_passed=6, num_failed=2, num_inconclusive=2, num_tokens=1
    )
    rects = list(parsed(charts.day_chart([day])).iter(f"{SVG}rect"))
    heights = [float(rect.attrib["height"]) for rect in rects]
    assert heights[0] == pytest.approx(3 * heights[1]) == pytest.approx(3 * heights[2])
    assert "6 PASSED, 2 INCONCLUSIVE, 2 FAILED" in str(charts.day_chart([day]))
    parsed(charts.day_chart([]))


def test_an_interval_without_upper_limit_is_an_arrow_and_told() -> None:
    bounded = charts.Whisker(label="a", estimate=0.2, low=0.1, high=0.3)
    drawing = charts.whisker_chart(
        [bounded, replace(bounded, high=None)], unit="logits", title="Noise", chart_id="noise"
    )
    assert len(list(parsed(drawing).iter(f"{SVG}path"))) == 1
    assert "no upper limit" in described(drawing)


def test_power_is_drawn_within_its_axis() -> None:
    attacks = make_sample().report.limits.attacks
    odd = replace(attacks[0], high_power=7.0, label="<b>" * 60)
    root = parsed(charts.power_chart([*attacks, odd]))
    assert max(float(line.attrib["x2"]) for line in root.iter(f"{SVG}line")) <= 900
    assert not root.findall(f".//{SVG}b")


def test_attributes_and_text_are_escaped() -> None:
    made = svg.element("text", '<script>"&', x=1, data_name='"><script>')
    assert "<script>" not in str(made)
    assert (
        parsed(
            svg.drawing("id", width=1, height=1, title="<t>", description="&", body=made)
        ).findtext(f"{SVG}title")
        == "<t>"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "1"), (-0.001, "0"), (1.239, "1.24"), (100.0, "100"), (-2.5, "-2.5")]
)
def test_coordinates_are_short(value: float, text: str) -> None:
    assert svg.number(value) == text


def test_ticks_are_round_and_inside() -> None:
    assert svg.ticks(0.0, 10.0) == (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    assert svg.ticks(3.0, 3.0) == (3.0,)
    assert svg.ticks(0.0, math.inf) == (0.0,)


def test_the_heat_map_marks_each_differing_token() -> None:
    columns = heat_map.parse_tokens(tokens_content(300, 40, seed=1))
    drawing = heat_map.heat_map(columns, "map")
    paths = list(parsed(drawing).iter(f"{SVG}path"))
    squares = sum(path.attrib["d"].count("z") for path in paths)
    marks = paths[-1].attrib["d"].count("M") // 2
    assert (squares, marks) == (300, 40)
    assert "40 of 300 tokens differ" in described(drawing)


def test_the_heat_map_is_bounded() -> None:
    columns = heat_map.parse_tokens(tokens_content(6_000, 10, seed=2))
    drawing = heat_map.heat_map(columns, "map")
    squares = sum(path.attrib["d"].count("z") for path in parsed(drawing).iter(f"{SVG}path"))
    assert squares == heat_map.MAX_TOKENS_SHOWN
    assert f"{heat_map.MAX_TOKENS_SHOWN:,} shown" in described(drawing)


def test_the_furthest_tokens_come_first_excluded_ones_before_all() -> None:
    columns = heat_map.TokenColumns(
        margin_logits_R=(1.0, -0.5, None, -3.0),
        gap_logits_R=(1.0, 0.1, 2.0, 3.0),
        is_mismatch_R=(False, True, True, True),
    )
    assert heat_map.furthest(columns, 2) == ((2, "outside the filters", "2"), (3, "3", "3"))
    assert columns.num_close_calls == 1


def test_an_answer_without_tokens_and_one_without_differences() -> None:
    parsed(heat_map.heat_map(heat_map.parse_tokens(tokens_content(0, 0, seed=0)), "map"))
    parsed(heat_map.heat_map(heat_map.parse_tokens(tokens_content(64, 0, seed=0)), "map"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "no usable column margin_logits"),
        (b'{"margin_logits": ["1"]}', "column margin_logits .* is not numbers"),
        (
            b'{"margin_logits": [1], "gap_logits": [1, 2], "is_mismatch": [0]}',
            "differ in length",
        ),
    ],
)
def test_evidence_per_token_that_is_malformed_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(VerificationError, match=problem):
        heat_map.parse_tokens(content)


def test_figures_beyond_all_bounds_count_as_infinitely_far() -> None:
    content = json.dumps(
        {"margin_logits": [-math.inf, 10**400], "gap_logits": [math.nan, 1], "is_mismatch": [1, 0]}
    )
    columns = heat_map.parse_tokens(content.encode())
    assert columns.margin_logits_R == (None, None)
    assert columns.gap_logits_R == (None, 1.0)
    assert math.isinf(columns.behind_logits(0))
