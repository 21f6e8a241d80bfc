"""The page on which people read what a sweep found."""

import base64
import hashlib
import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest

from audit.errors import ConfigurationError, InvalidRequest
from audit.sweep_records import (
    ChangeKind,
    SweepOutcome,
    SweepResult,
)
from audit.sweeps.decide.combine import combine
from audit.sweeps.pages import views
from audit.sweeps.pages.canvas import COLOURS
from audit.sweeps.pages.evidence import evidence_of
from audit.sweeps.pages.page import SweepPage, render_sweep, write_page
from tests.unit.sweeps.page_examples import (
    HOSTILE,
    POLICY,
    a_finding,
    a_reading,
    a_run,
    hostile_runs,
    many_runs,
)
from tests.unit.sweeps.page_outline import outlined, told
from tests.unit.sweeps.small_run import endpoint, stored_plan

REPOSITORY = Path(__file__).parents[3]


def rendered(runs: list[SweepResult]) -> SweepPage:
    return render_sweep(runs, POLICY, title="two hosts")


@pytest.fixture(scope="module")
def page() -> SweepPage:
    return rendered(many_runs(30, ("host-a", "host-b")))


def test_the_page_is_well_formed_and_loads_nothing(page: SweepPage) -> None:
    outline = outlined(page)
    tags = [tag for tag, _ in outline.elements]
    assert len(outline.ids) == len(set(outline.ids))
    assert all(link.startswith("#") and link[1:] in outline.ids for link in outline.links)
    assert not {"script", "img", "link", "iframe", "object", "form"} & set(tags)
    attributes = {name for _, members in outline.elements for name in members}
    assert not {name for name in attributes if name.startswith("on")}
    assert not {"src", "style", "srcset", "xlink:href"} & attributes
    # names of namespaces are no requests
    named = page.html.replace("http://www.w3.org/", "")
    assert "http://" not in named
    assert "https://" not in named


def test_the_policy_admits_the_page_s_own_style_and_nothing_else(page: SweepPage) -> None:
    (style,) = re.findall("<style>(.*?)</style>", page.html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (meta,) = [m for t, m in outlined(page).elements if "http-equiv" in m and t == "meta"]
    assert meta["content"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 640px" in style


def test_tables_and_drawings_can_be_read_without_seeing_them(page: SweepPage) -> None:
    outline = outlined(page)
    tags = [tag for tag, _ in outline.elements]
    assert tags.count("table") == tags.count("caption") > 10
    assert all(m.get("scope") in ("col", "row") for t, m in outline.elements if t == "th")
    drawings = [m for t, m in outline.elements if t == "svg"]
    assert len(drawings) == len(page.plots) == 1 + 2 * 4
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert all(name in outline.ids for name in (drawing["aria-labelledby"] or "").split())
    assert tags.count("title") == 1 + len(drawings)
    assert tags.count("desc") == len(drawings)


def test_the_plots_are_documents_in_the_page_s_colours(page: SweepPage) -> None:
    for content in page.plots.values():
        root = ET.fromstring(content)  # noqa: S314
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert b"#010203" not in content
        assert b"currentColor" in content
        assert b"style=" not in content
        assert b"<style" not in content
        assert b"<metadata" not in content
        assert b"<text" in content
    # one drawing as it stands in the page: all are ink on whatever the page is
    assert "#010203" not in page.html


def test_it_tells_what_the_run_concludes(page: SweepPage) -> None:
    text = told(page)
    for part in (
        "30 runs; the newest is run-29",
        "Newest run: inconsistent",
        "31.0\xa0% to 100.0\xa0%",
        "0.0\xa0% to 4.0\xa0%",
        "12,396",
        "not decided",
        "Smallest share of diverted requests that a detector would have found in 90.0\xa0% of runs"
        ": 25.0\xa0%",
        "A quarter of diverted requests would mostly have been seen.",
        "All controls behaved as they must.",
        "honest control",
        "known copy",
        "The opening matches the commitment.",
        "No scheduler was there in time.",
        "“Consistent” is not “proven”.",
        "The order of requests is not at hand",
        "The plan of this run is not at hand",
    ):
        assert " ".join(part.split()) in text, part
    assert f"{4.89 / math.log(10):.2f}" in text


def test_every_outcome_has_advice() -> None:
    findings = tuple(a_finding(f"host-{k}", outcome, 1) for k, outcome in enumerate(SweepOutcome))
    text = told(rendered([a_run(1, findings)]))
    for part in ("Ask the host what it runs", "Raise the budget", "Mend the control"):
        assert part in text
    assert "max_tokens (explains what else was seen): 4 asked for, 9 came." in text


def test_changes_are_told_with_the_run_they_began_in() -> None:
    runs = [
        a_run(
            k, (a_finding("host", SweepOutcome.CHANGED if k > 11 else SweepOutcome.CONSISTENT, k),)
        )
        for k in range(1, 14)
    ]
    page = rendered(runs)
    text = told(page)
    assert "a step: from one run to the next, and it stayed" in text
    assert "run-9 (run-7 to run-11)" in text
    assert "change against its own past" in text
    (finding,) = runs[-1].findings
    kinds = tuple(replace(finding.changes[0], kind=kind) for kind in ChangeKind)
    text = told(rendered([replace(runs[-1], findings=(replace(finding, changes=kinds),))]))
    for part in ("a blip:", "a step:", "a ramp:", "an alternation", "too young", "no change"):
        assert part in text


def test_what_endpoints_say_stays_text() -> None:
    page = render_sweep(hostile_runs(), POLICY, title=HOSTILE)
    outline = outlined(page)
    assert "script" not in {tag for tag, _ in outline.elements}
    for content in (page.html, *(plot.decode() for plot in page.plots.values())):
        assert "<script" not in content
        assert "\x1b" not in content
        assert "\u202e" not in content
    assert "<script>alert(1)</script>⟨U+001B⟩[2J⟨U+202E⟩gnp.$x_1$\"'&日本" in told(page)


def test_a_detector_of_another_version_is_shown_without_a_sum() -> None:
    finding = a_finding("host", SweepOutcome.CONSISTENT, 1)
    strange = replace(a_reading("of-tomorrow/1", 0.0, "x"), detector=f"tomorrow/{HOSTILE}")
    page = rendered([a_run(1, (replace(finding, readings=(*finding.readings, strange)),))])
    text = told(page)
    assert "The evidence is not put together here: detector:" in text
    assert "What could have been seen is not put together here: detector:" in text
    assert len(page.plots) == 2
    assert "script" not in {tag for tag, _ in outlined(page).elements}


def test_no_runs_yet() -> None:
    page = rendered([])
    assert page.plots == {}
    assert "No runs yet" in told(page)


def test_a_run_that_did_not_take_place_is_shown_beside_the_latest_that_did() -> None:
    missed = a_run(9, (), outcome=SweepOutcome.NOT_PERFORMED, statement="Nobody was there.")
    text = told(rendered([a_run(8, (a_finding("host", SweepOutcome.CONSISTENT, 8),)), missed]))
    assert "Newest run: not performed Nobody was there." in text
    assert "neither good nor bad news about an endpoint" in text
    assert "What follows is of the latest run that has some, run-8" in text
    assert "1 run that says nothing about any target" in text
    alone = told(rendered([missed]))
    assert "No run of this sweep has findings yet." in alone


def test_a_void_run_is_plainly_void() -> None:
    run = many_runs(7)[5]
    assert run.outcome is SweepOutcome.VOID
    text = told(rendered([run]))
    assert "Newest run: void" in text
    assert "The negative control local is known to be honest and ended misconfigured." in text
    # its signs stay out of the history, as they do where changes are told
    assert "Signs over the runs" not in rendered([run, replace(run, run_id="again")]).html


def test_without_controls_that_is_said() -> None:
    text = told(rendered([a_run(1, (a_finding("host", SweepOutcome.CONSISTENT, 1),))]))
    assert "No control was asked along, so the sweep itself was not checked." in text


def test_an_opening_that_was_changed_is_said_to_be() -> None:
    run = many_runs(1)[0]
    assert run.opening is not None
    changed = replace(run, opening=replace(run.opening, seed="ff"))
    assert "The opening does NOT match" in told(rendered([changed]))
    closed = replace(run, opening=None)
    assert "The commitment was not opened" in told(rendered([closed]))


def test_another_policy_is_said_to_be_one() -> None:
    run = replace(many_runs(1)[0], policy_id="sha256:" + "9" * 64)
    assert "under another policy than the newest run" in told(rendered([run]))


def test_the_plan_tells_what_was_asked_and_in_which_order() -> None:
    stored = stored_plan([endpoint("host")], num_probes=62)
    finding = a_finding("host", SweepOutcome.INCONSISTENT, 1)
    finding = replace(finding, readings=finding.readings[1:2])
    run = a_run(1, (finding,))
    page = render_sweep([run], POLICY, title="two hosts", plans={"run-1": stored})
    text = told(page)
    assert "http://localhost:9/host" in text
    assert "border-greedy/1\xa062" in " ".join(outlined(page).text)
    assert "1,000 requests and 1,000,000 tokens" in text
    assert "Requests in the order sent." in text


def test_drawn_evidence_is_what_decides_and_keeps_its_peak() -> None:
    finding = a_finding("host", SweepOutcome.INCONSISTENT, 1, num=1_500)
    evidence = evidence_of(finding, POLICY, None, "evidence")
    assert evidence.combined is not None
    log_e_nats = combine(finding.readings, POLICY).log_e_nats_T
    peak = max(log_e_nats) / math.log(10)
    assert max(evidence.combined.log10_e) == pytest.approx(peak, abs=0.0)
    assert evidence.combined.log10_e[-1] == log_e_nats[-1] / math.log(10)
    assert evidence.combined.requests[-1] == len(log_e_nats) - 1
    assert all(len(curve.requests) <= 404 for curve in evidence.curves)
    assert evidence.is_cut
    for curve, reading in zip(evidence.curves, finding.readings[1:], strict=True):
        assert max(curve.log10_e) == max(reading.log_e_nats_N) / math.log(10)


def test_endless_evidence_can_be_drawn() -> None:
    finding = a_finding("host", SweepOutcome.CONSISTENT, 1)
    reading = replace(finding.readings[1], log_e_nats_N=(-math.inf, math.inf), num_sent=2)
    page = rendered([a_run(1, (replace(finding, readings=(reading,)),))])
    assert "∞" in told(page)
    assert "evidence-1.svg" in page.plots


def test_the_same_runs_give_the_same_bytes_in_any_order_and_process(tmp_path: Path) -> None:
    runs = many_runs(5, ("host-a",))
    page = rendered(runs)
    assert rendered(list(reversed(runs))) == page
    code = (
        "import sys; from pathlib import Path\n"
        "from audit.sweeps.pages.page import write_page\n"
        "from tests.unit.sweeps.test_pages import many_runs, rendered\n"
        "write_page(rendered(many_runs(5, ('host-a',))), Path(sys.argv[1]))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    env = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'proto'}", "PYTHONHASHSEED": "7"}
    env |= {"MPLCONFIGDIR": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    (tmp_path / "matplotlibrc").write_text("lines.color: red\nfont.size: 30\naxes.grid: True\n")
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True, env=env)
    assert (tmp_path / "out" / "sweep.html").read_text(encoding="utf-8") == page.html
    for name, content in page.plots.items():
        assert (tmp_path / "out" / "plots" / name).read_bytes() == content


def test_drawing_leaves_no_settings_behind() -> None:
    before = dict(matplotlib.rcParams)
    rendered(many_runs(2, ("host-a",)))
    assert dict(matplotlib.rcParams) == before


def test_a_long_history_stays_light() -> None:
    page = rendered(many_runs(400))
    assert len(page.html.encode()) < 2_000_000
    assert "400 runs; the newest is run-399" in told(page)
    assert "Not shown here: 350 more." in told(page)


def test_many_endpoints_with_long_answers_stay_light(monkeypatch: pytest.MonkeyPatch) -> None:
    # what a long history uses up, without the time to draw it
    monkeypatch.setattr(views, "MAX_DRAWING_BYTES", 100_000)
    names = tuple(f"host-{k}" for k in range(50))
    detectors = ("border-greedy/1", "border-seeded/1", "replay/1", "logprob-kl/1", "text-mmd/1")
    page = rendered(many_runs(2, names, num=250, detectors=detectors))
    assert len(page.html.encode()) < 2_000_000
    text = told(page)
    assert "Not drawn, so that the page stays light" in text
    assert f"Not shown here: {52 - views.MAX_CARDS} more." in text


def test_a_run_that_comes_twice_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="hold a run twice"):
        rendered([*many_runs(2), many_runs(1)[0]])


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"inference-audit\[sweeps\]"):
        rendered(many_runs(1))


def test_colours_read_on_light_and_dark() -> None:
    for colour in COLOURS:
        for paper in ("#ffffff", "#14181d"):
            assert contrast(colour, paper) >= 3.0, (colour, paper)


def contrast(first: str, second: str) -> float:
    """Return the contrast of two colours as WCAG 2 defines it."""
    light = sorted((luminance(first), luminance(second)))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_a_page_is_written_with_its_plots(tmp_path: Path, page: SweepPage) -> None:
    path = write_page(page, tmp_path / "deep" / "folder")
    assert path.read_text(encoding="utf-8") == page.html
    files = {file.name for file in (path.parent / "plots").iterdir()}
    assert files == set(page.plots)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, page: SweepPage) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot write the page to"):
        write_page(page, tmp_path / "file")
