"""The published question files beside the checkout; their tests are skipped where they are not."""

from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"
GSM8K_FILES = DATA / "gsm8k"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the files in ../shared/data")
needs_gsm8k = pytest.mark.skipif(
    not GSM8K_FILES.is_dir(), reason="needs the GSM8K files in ../shared/data/gsm8k"
)
