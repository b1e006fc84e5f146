"""A real browser, for tests of pages. They are skipped where there is no Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from benchmarks.report import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium: `apt-get install chromium` or `playwright install chromium`")
    with sync_playwright() as found:
        opened = found.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
