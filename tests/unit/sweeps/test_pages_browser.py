"""A real browser opens the pages of sweeps and has nothing to complain of."""

import shutil
import subprocess
from pathlib import Path

import pytest

from audit.sweeps.pages.page import SweepPage, render_sweep, write_page
from tests.unit.sweeps.page_examples import HOSTILE, POLICY, hostile_runs, many_runs


@pytest.fixture(scope="module")
def page() -> SweepPage:
    return render_sweep(many_runs(30, ("host-a", "host-b")), POLICY, title="two hosts")


def browse(page: Path, window: str, tmp_path: Path) -> list[str]:
    """Return what the browser's console said of the page."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("needs chromium")
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"),
        *("--hide-scrollbars", "--disable-dev-shm-usage", f"--user-data-dir={tmp_path / 'p'}"),
        *(f"--window-size={window}", f"--screenshot={tmp_path / 'page.png'}", page.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert len((tmp_path / "page.png").read_bytes()) > 50_000
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("window", ["1000,6000", "500,6000"])
def test_a_browser_shows_it_without_a_complaint(
    window: str, tmp_path: Path, page: SweepPage
) -> None:
    assert browse(write_page(page, tmp_path), window, tmp_path) == []


def test_a_browser_shows_the_worst_page_without_a_complaint(tmp_path: Path) -> None:
    page = render_sweep(hostile_runs(), POLICY, title=HOSTILE)
    assert browse(write_page(page, tmp_path), "900,4000", tmp_path) == []


def test_the_browser_does_complain_of_a_style_that_the_policy_does_not_admit(
    tmp_path: Path, page: SweepPage
) -> None:
    """What makes the tests above worth something."""
    path = tmp_path / "sweep.html"
    path.write_text(page.html.replace("<style>", "<style> "), encoding="utf-8")
    complaints = browse(path, "900,4000", tmp_path)
    assert any("Content Security Policy" in line for line in complaints)
