"""The page in a real browser, where there is one: light, dark, and on paper."""

import io
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
LIGHT, DARK = "--blink-settings=preferredColorScheme=1", "--blink-settings=preferredColorScheme=0"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]

pytestmark = pytest.mark.skipif(not BROWSER, reason="no chromium or chrome on this machine")


def _browse(page: Path, profile: Path, *flags: str) -> None:
    command = [BROWSER, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _picture(page: Path, folder: Path, scheme: str, width: int) -> Any:
    out = folder / "page.png"
    _browse(page, folder / "profile", scheme, f"--screenshot={out}", f"--window-size={width},900")
    return np.asarray(Image.open(io.BytesIO(out.read_bytes())).convert("L"))


@pytest.fixture(scope="module")
def page(written: tuple[Path, dict[str, Any]]) -> Path:
    return written[0] / "report" / "index.html"


def test_light_and_dark(page: Path, tmp_path: Path) -> None:
    light = _picture(page, tmp_path, LIGHT, 1100)
    dark = _picture(page, tmp_path, DARK, 1100)
    assert np.median(light) > 240
    assert np.median(dark) < 40
    assert light.min() < 60, "dark ink on light"
    assert dark.max() > 200, "light ink on dark"


def test_nothing_sticks_out_of_a_narrow_window(page: Path, tmp_path: Path) -> None:
    """The margins stay empty: wide tables scroll inside their frames."""
    shown = _picture(page, tmp_path, LIGHT, 560)
    assert np.ptp(shown[:, -12:]) == 0


def test_on_paper(page: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.pdf"
    _browse(page, tmp_path / "profile", DARK, "--no-pdf-header-footer", f"--print-to-pdf={out}")
    printed = out.read_bytes()
    assert printed.startswith(b"%PDF")
    assert 5 <= printed.count(b"/Type /Page\n") <= 15
