"""How different solutions are may be said by embeddings instead of words."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from agentark_ray.config import ConfigError, parse_config
from agentark_ray.distill import embeddings
from agentark_ray.distill.curate import curate
from agentark_ray.distill.embeddings import EmbeddingLikeness
from agentark_ray.pipeline import Run
from agentark_ray.strategy import DaConfig
from agentark_ray.tiny.path import tiny_model_path
from tests.unit.debates import debate, said

FIRST = "One and three more are four.\n\\boxed{4}"
REWORDED = "Three further ones join the single one.\n\\boxed{4}"
OTHER_WAY = "One and one and two are four.\n\\boxed{4}"

with_library = pytest.mark.skipif(
    find_spec(embeddings.LIBRARY) is None, reason="needs the extra embeddings"
)


def by_meaning(texts: Sequence[str]) -> np.ndarray:
    """FIRST and REWORDED say the same, OTHER_WAY does not."""
    ways = [text == OTHER_WAY for text in texts]
    return np.array(
        [
            [1.0 if i == j else 0.9 - 0.6 * (a != b) for j, b in enumerate(ways)]
            for i, a in enumerate(ways)
        ]
    ).reshape(len(texts), len(texts))


def test_the_most_different_solutions_are_those_of_the_likeness() -> None:
    trace = debate(
        [said(FIRST, logprob=-0.1), said(REWORDED, logprob=-0.2), said(OTHER_WAY, logprob=-0.3)]
    )
    config = DaConfig(type="da", trajectories=2, corrections=0, confirmations=0)
    by_words = curate([trace], config, "da")
    assert [row.target for row in by_words.rows] == [FIRST, REWORDED]
    meant = curate([trace], config, "da", alike=by_meaning)
    assert [row.target for row in meant.rows] == [FIRST, OTHER_WAY]
    assert meant.diversity_before == pytest.approx((0.1 + 0.7 + 0.7) / 3)
    assert meant.diversity_after == pytest.approx(0.7)


def test_a_missing_library_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings, "LIBRARY", "no_such_library")
    values = [f"output={tmp_path}", "distill.curation.embeddings=some/model"]
    run = Run(parse_config({}, values, "test"), Console())
    with pytest.raises(ConfigError, match=r"some/model.*agentark-ray\[embeddings\]"):
        run.check()
    assert embeddings.embeddings_missing(None) is None
    with pytest.raises(ImportError, match=r"some/model.*agentark-ray\[embeddings\]"):
        EmbeddingLikeness("some/model")


@with_library
def test_cosines_of_a_real_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embeddings, "KNOWN", 2)
    alike = EmbeddingLikeness(str(tiny_model_path()))
    texts = [FIRST, REWORDED, OTHER_WAY, FIRST]
    found = alike(texts)
    assert found.shape == (4, 4)
    assert np.allclose(found, found.T) and np.allclose(np.diag(found), 1, atol=1e-5)
    assert found[0, 3] == pytest.approx(1, abs=1e-5) and 0 <= found.min() <= found[0, 1] < 1
    assert np.allclose(alike(texts[:2]), found[:2, :2], atol=1e-4)  # known or read again
    assert alike([]).shape == (0, 0)
