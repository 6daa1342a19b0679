"""Debian's Chromium for tests of pages; a file that imports this is skipped where Playwright is not installed."""

import shutil

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="browser tests need playwright")
CHROMIUM = shutil.which("chromium")
with_chromium = pytest.mark.skipif(not CHROMIUM, reason="browser tests need Chromium at /usr/bin/chromium")

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "is_mobile": True,
    "has_touch": True,
    "device_scale_factor": 2.625,
    "color_scheme": "dark",
}
