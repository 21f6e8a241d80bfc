"""The HTML report: says what the report says, escapes everything, asks nobody for anything."""

import base64
import hashlib
import html as entities
import io
import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from audit.errors import ConfigurationError
from audit.ledger.envelope import sign_payload
from audit.ledger.keys import SigningKey
from audit.records import Outcome
from audit.reports import html, svg
from audit.reports.controls import CONTROL_MAPPING, SECTIONS
from audit.reports.records import Listing, MissingVerdict, ReportScope
from tests.unit.reports.collecting import collected
from tests.unit.reports.pages import Page, poisoned
from tests.unit.reports.sample_log import busy_log, job, verdict
from tests.unit.reports.sample_report import (
    Sample,
    make_clean_sample,
    make_empty_sample,
    make_sample,
)
from tests.unit.reports.sample_verdicts import CHEAT, FAILED_AUDIT, HONEST, Endpoint, tokens_content

SCREENSHOTS = Path(__file__).parents[3] / "var" / "screenshots"
TAGS = frozenset(
    "html head meta title style body a header footer main nav section article h1 h2 h3 p ul ol li "
    "strong span bdi br code pre dl dt dd table caption thead tbody tr th td details summary div "
    "svg desc g path rect line circle polyline text".split()
)


def rendered(sample: Sample) -> str:
    out = io.BytesIO()
    html.render(sample.report, sample.lines, out)
    return out.getvalue().decode("utf-8")


def read(sample: Sample) -> Page:
    return Page.of(rendered(sample))


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="module")
def page(sample: Sample) -> Page:
    return read(sample)


def test_it_says_the_counts_and_the_answer(sample: Sample, page: Page) -> None:
    totals = sample.report.totals
    assert "At least one provider's answers do not fit the model" in page.text
    assert (
        f"{totals.num_passed} PASSED, {totals.num_failed} FAILED and "
        f"{totals.num_inconclusive} were INCONCLUSIVE"
    ) in page.text
    assert "3 MISSING verdicts" in page.text
    assert "the evidence against Brightline AI for meridian-70b-instruct" in page.text


@pytest.mark.parametrize(
    "told",
    [
        "audit.contoso.example/verdicts",
        "witness.first.example/w1",
        "did not cosign",
        "tsa.example",
        "the signature does not verify under the key that the leaf names",
        "number 35 is not in the log",
        "rotated on schedule",
        "A provider that recognises audited traffic",
        "Key-value cache quantised to 8 bits",
        "TOO_FEW_TOKENS",
        "not in the log",
        "no upper limit",
        "no verdict of this id is in the window",
        "inference-audit report verify PACK --trust-root trust_root.json",
        "inference-audit verify verdict.sigstore.json --trust-root trust_root.json",
        "supports evidence for",
    ],
)
def test_it_tells(page: Page, told: str) -> None:
    assert told in page.text


def test_every_section_is_there_and_every_link_leads_somewhere(page: Page) -> None:
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert set(SECTIONS) <= set(ids)
    targets = page.values("href")
    assert all(target.startswith("#") and target[1:] in ids for target in targets)
    assert sum(target.startswith("#entry-") for target in targets) > 50


def test_links_of_entries_lead_to_their_digests(sample: Sample) -> None:
    missing = sample.report.missing.items[0]
    row = re.search(rf'<tr id="entry-{missing.log_index}">.*?</tr>', rendered(sample))
    assert row is not None and missing.entry_digest in row[0]


def test_nothing_is_loaded_and_nothing_runs(sample: Sample, page: Page) -> None:
    assert page.tags <= TAGS
    for tag, name, value in page.attributes:
        assert name not in {"src", "srcset", "style", "data", "action", "ping"}, (tag, name)
        assert not name.startswith("on"), (tag, name)
        assert "javascript:" not in value
    for style in page.styles:
        assert "url(" not in style and "@import" not in style


def test_the_policy_admits_this_style_sheet_alone(page: Page) -> None:
    policy = next(v for v in page.values("content") if v.startswith("default-src"))
    digest = base64.b64encode(hashlib.sha256("".join(page.styles).encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def test_tables_have_headers_and_drawings_have_titles(page: Page) -> None:
    scopes = [name == "scope" for tag, name, _ in page.attributes if tag == "th"]
    assert sum(scopes) > 80
    for tag, name, value in page.attributes:
        if tag == "svg" and name in {"role", "aria-hidden"}:
            assert value in {"img", "true"}
    assert ("html", "lang", "en") in page.attributes


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    "colour", [svg.INK, svg.MUTED, svg.ACCENT, svg.PASSED, svg.FAILED, svg.INCONCLUSIVE]
)
def test_text_stands_out_from_white(colour: str) -> None:
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_the_same_report_gives_the_same_bytes() -> None:
    assert rendered(make_sample()) == rendered(make_sample())


def test_poison_in_every_text_stays_text(sample: Sample) -> None:
    hostile = Sample(
        poisoned(sample.report), tuple(poisoned(line) for line in sample.verdicts[:40])
    )
    text = rendered(hostile)
    page = Page.of(text)
    assert page.tags <= TAGS
    assert not {name for _, name, _ in page.attributes} & {"src", "onerror", "style"}
    assert "{{7*7}}" in page.text
    assert "<script>alert(1)</script>" in page.text
    hidden = {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Co", "Cs"}} - {"\n"}
    assert not hidden, f"hidden characters came through: {hidden}"
    assert "⟨U+202E⟩evil⟨U+0007⟩" in page.text
    assert "\u0301" * 3 not in unicodedata.normalize("NFD", page.text)


@pytest.mark.parametrize(
    "provider",
    [
        "<script>alert(1)</script>",
        '" onload="alert(1)',
        "' onload='alert(1)",
        "\u202egnitset\u202c",
        "\u2066isolated",
        "zero\u200bwidth",
        "two\nlines\r\n",
        "{% raw %}{{ 1 }}",
        "]]>--><!--",
        "&amp;&lt;",
    ],
)
def test_a_providers_name_is_only_a_name(provider: str) -> None:
    text = rendered(make_sample((Endpoint(provider, provider, provider, True), HONEST), 60))
    page = Page.of(text)
    assert page.tags <= TAGS
    assert not {name for _, name, _ in page.attributes if name.startswith("on")}
    assert not re.search("[\u200b\u202a-\u202e\u2066-\u2069\r]", text)


def test_a_very_long_name_is_cut_and_its_length_told() -> None:
    text = rendered(make_sample((Endpoint("x" * 100_000, None, None, True), HONEST), 60))
    assert "x" * 97 not in text
    assert "(100,000 characters)" in text


def test_names_that_nobody_stated_are_told_as_such() -> None:
    assert "not stated" in read(make_sample((Endpoint(None, None, None),), 30)).text


def test_long_lists_are_cut_and_the_rest_is_counted(sample: Sample) -> None:
    one = sample.report.missing.items[0]
    many = tuple(replace(one, log_index=10_000 + i, audit_id=f"gone-{i}") for i in range(200))
    report = replace(sample.report, missing=Listing(total=5_000, items=many))
    text = Page.of(rendered(Sample(report, sample.verdicts))).text
    assert f"gone-{html.MAX_ROWS - 1} " in text
    assert f"gone-{html.MAX_ROWS} " not in text
    assert f"Not shown here: {5_000 - html.MAX_ROWS:,} more." in text


def test_many_providers_make_a_page_of_bounded_size() -> None:
    endpoints = [Endpoint(f"provider {i}", None, "m", is_substituting=True) for i in range(1_000)]
    assert len(rendered(make_sample(endpoints, 3_000))) < 600_000


def test_a_clean_window_and_an_empty_one() -> None:
    clean = read(make_clean_sample()).text
    assert "Nothing judged here failed, and the record of the window is complete." in clean
    assert "Every announced audit has its verdict." in clean
    assert "No verdict in scope is FAILED." in clean
    empty = read(make_empty_sample()).text
    assert "No verdict lies in this window, so it answers nothing." in empty
    assert "No exchange was chosen for this report." in empty


def test_nobody_vouching_for_the_log_is_told(sample: Sample) -> None:
    log = replace(sample.report.log, witnesses=(), timestamps=(), is_quorum_met=False)
    text = read(Sample(replace(sample.report, log=log), sample.verdicts)).text
    assert "only the operator vouches for this log" in text
    assert "no outside clock vouches" in text
    assert "not met" in text


def test_evidence_per_token_that_does_not_parse_is_told(sample: Sample) -> None:
    broken = replace(sample.report.exchanges[0], tokens=b"{")
    report = replace(sample.report, exchanges=(broken,))
    assert (
        "Nothing to draw: the evidence per token is not JSON"
        in read(Sample(report, sample.verdicts)).text
    )


def test_tokens_are_drawn_without_text(sample: Sample, page: Page) -> None:
    assert FAILED_AUDIT in page.text
    assert "Tokens furthest behind the reference's own choice" in page.text
    assert "neither prompt nor answer is in this report" in page.text


def test_a_report_without_control_mapping_says_so(sample: Sample) -> None:
    report = replace(sample.report, control_mapping=None)
    text = read(Sample(report, sample.verdicts)).text
    assert "This report was collected without a control mapping." in text
    assert "ISO/IEC 42001" not in text


def test_a_control_mapping_of_another_version_is_refused(sample: Sample) -> None:
    report = replace(sample.report, control_mapping="inference-audit-controls/1999-01-01")
    with pytest.raises(ConfigurationError, match="render it with the version"):
        rendered(Sample(report, sample.verdicts))


def test_a_lone_surrogate_cannot_break_the_encoding(sample: Sample) -> None:
    missing: Listing[MissingVerdict] = replace(
        sample.report.missing,
        items=(replace(sample.report.missing.items[0], audit_id="lone \ud800"),),
    )
    report = replace(sample.report, missing=missing)
    assert "lone ⟨U+D800⟩" in rendered(Sample(report, sample.verdicts))


@pytest.mark.skipif(
    not (shutil.which("openssl") and shutil.which("jq")), reason="needs openssl and jq"
)
@pytest.mark.parametrize("is_changed", [False, True])
def test_the_openssl_commands_verify_a_real_signature(
    tmp_path: Path, sample: Sample, is_changed: bool
) -> None:
    key = SigningKey.of(ec.generate_private_key(ec.SECP256R1()))
    envelope = sign_payload(b'{"_type":"https://in-toto.io/Statement/v1"}', key)
    if is_changed:
        payload = base64.b64encode(b'{"_type":"https://in-toto.io/Statement/v2"}').decode()
        envelope = re.sub(rb'"payload": ?"[^"]+"', f'"payload":"{payload}"'.encode(), envelope)
    (tmp_path / "envelope.json").write_bytes(envelope)
    (tmp_path / "verdict-key.pem").write_bytes(key.public_key_pem)
    block = re.search(r'<pre id="openssl-commands">(.*?)</pre>', rendered(sample), re.DOTALL)
    assert block is not None
    done = subprocess.run(
        ["sh", "-e", "-c", entities.unescape(block[1])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode == 0) is not is_changed, done.stderr
    assert ("Verified OK" in done.stdout) is not is_changed


def browse(page: Path, screenshot: Path, profile: Path) -> list[str]:
    """Return what the browser's console said of the page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs chromium")
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *("--hide-scrollbars", "--disable-dev-shm-usage", f"--user-data-dir={profile}"),
        *("--window-size=900,14000", f"--screenshot={screenshot}", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def test_a_browser_shows_it_without_a_complaint(tmp_path: Path, sample: Sample) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    screenshot = SCREENSHOTS / "report.png"
    screenshot.unlink(missing_ok=True)
    page = tmp_path / "report.html"
    page.write_text(rendered(sample), encoding="utf-8")
    assert browse(page, screenshot, tmp_path / "profile") == []
    content = screenshot.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(content) > 100_000


def test_a_browser_shows_the_worst_page_without_a_complaint(tmp_path: Path) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    sample = make_sample((CHEAT, HONEST), 60)
    hostile = Sample(poisoned(sample.report), tuple(poisoned(line) for line in sample.verdicts))
    page = tmp_path / "report.html"
    page.write_text(rendered(hostile), encoding="utf-8")
    assert browse(page, SCREENSHOTS / "report-hostile.png", tmp_path / "profile") == []


def test_the_browser_does_complain_of_a_style_that_the_policy_does_not_admit(
    tmp_path: Path, sample: Sample
) -> None:
    """What makes the two tests above worth something."""
    page = tmp_path / "report.html"
    page.write_text(rendered(sample).replace("<style>", "<style> "), encoding="utf-8")
    complaints = browse(page, tmp_path / "page.png", tmp_path / "profile")
    assert any("Content Security Policy" in line for line in complaints)


def test_a_collected_log_becomes_a_page(tmp_path: Path) -> None:
    """The real way: a log of signed entries, collected, then rendered."""
    log = busy_log(120)
    evidence = log.keep_tokens(tokens_content(80, 9, seed=3))
    audited = job(9_001)
    intent = log.intent(audited)
    log.verdict(audited, verdict(9_001, Outcome.FAIL, log10_e=6.0), intent, evidence=(evidence,))
    unanswered = log.intent(job(9_002))
    scope = ReportScope(exchanges=(audited.audit_id,))
    report, lines = collected(log.source(), tmp_path, scope)
    page = read(Sample(replace(report, control_mapping=CONTROL_MAPPING), tuple(lines)))
    assert f"{report.totals.num_passed} PASSED, {report.totals.num_failed} FAILED" in page.text
    assert "9 of 80 tokens differ" in page.text
    assert f"#entry-{unanswered.log_index}" in page.values("href")
    assert "1 MISSING verdict." in page.text
