"""The PDF: real pages with the report's words, the same bytes for the same report."""

import hashlib
import io
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from audit.errors import ConfigurationError
from audit.reports import pdf
from tests.unit.reports.pages import poisoned
from tests.unit.reports.sample_report import Sample, make_clean_sample, make_sample

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def _needs_layout() -> None:
    try:
        pdf.load_layout()
    except ConfigurationError as error:
        pytest.skip(str(error))


def rendered(sample: Sample) -> bytes:
    out = io.BytesIO()
    pdf.render(sample.report, sample.lines, out)
    return out.getvalue()


@pytest.fixture(scope="module")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="module")
def content(sample: Sample) -> bytes:
    return rendered(sample)


def text_of(content: bytes, tmp_path: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("needs pdftotext of poppler-utils")
    file = tmp_path / "report.pdf"
    file.write_bytes(content)
    done = subprocess.run(
        ["pdftotext", "-layout", str(file), "-"], capture_output=True, check=True, timeout=60
    )
    return " ".join(done.stdout.decode("utf-8").split())


def test_its_pages_draw(content: bytes, tmp_path: Path) -> None:
    if shutil.which("pdftoppm") is None:
        pytest.skip("needs pdftoppm of poppler-utils")
    file = tmp_path / "report.pdf"
    file.write_bytes(content)
    subprocess.run(
        ["pdftoppm", "-r", "20", "-png", str(file), str(tmp_path / "page")],
        check=True,
        timeout=120,
    )
    pages = sorted(tmp_path.glob("page-*.png"))
    assert len(pages) >= 1
    assert all(page.read_bytes().startswith(b"\x89PNG") for page in pages)


def test_it_has_the_words_of_the_report(sample: Sample, content: bytes, tmp_path: Path) -> None:
    text, totals = text_of(content, tmp_path), sample.report.totals
    assert (
        f"{totals.num_passed} PASSED, {totals.num_failed} FAILED and "
        f"{totals.num_inconclusive} were INCONCLUSIVE"
    ) in text
    assert "Brightline AI" in text
    assert "threshold 4" in text
    assert sample.report.log.last.root in text.replace(" ", "")


def test_the_same_report_gives_the_same_bytes_in_another_process(content: bytes) -> None:
    program = (
        "import hashlib, io\n"
        "from audit.reports import pdf\n"
        "from tests.unit.reports.sample_report import make_sample\n"
        "out, sample = io.BytesIO(), make_sample()\n"
        "pdf.render(sample.report, sample.lines, out)\n"
        "print(hashlib.sha256(out.getvalue()).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.stdout.strip() == hashlib.sha256(content).hexdigest()


def test_its_date_is_the_reports(content: bytes, sample: Sample, tmp_path: Path) -> None:
    if shutil.which("pdfinfo") is None:
        pytest.skip("needs pdfinfo of poppler-utils")
    file = tmp_path / "report.pdf"
    file.write_bytes(content)
    done = subprocess.run(
        ["pdfinfo", "-isodates", str(file)], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"CreationDate:    {sample.report.as_of[:19]}Z" in done.stdout
    assert sample.report.report_id in done.stdout


def test_another_report_has_another_identifier(content: bytes) -> None:
    assert rendered(make_clean_sample()) != content


def test_poison_lays_out_and_fetches_nothing(tmp_path: Path) -> None:
    sample = make_clean_sample()
    hostile = Sample(
        poisoned(sample.report), tuple(poisoned(line) for line in sample.verdicts[:10])
    )
    assert "<script>alert(1)</script>" in text_of(rendered(hostile), tmp_path)


def test_a_page_that_names_something_else_gets_nothing() -> None:
    asked: list[str] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        at = f"http://127.0.0.1:{server.server_port}"
        page = f'<img src="{at}/a.png"><style>@import "{at}/b.css";</style>text'
        pdf.load_layout()(page).write_pdf(pdf_identifier=b"0" * 16, pdf_tags=False)
        server.shutdown()
        thread.join()
    assert asked == []


def test_without_weasyprint_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(ConfigurationError, match="apt-get install libpango") as caught:
        pdf.render(make_clean_sample().report, make_clean_sample().lines, io.BytesIO())
    assert "inference-audit[reports]" in str(caught.value)
