"""Likeness of solutions by a text-embedding model, where the extra `embeddings` is installed."""

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

LIBRARY = "sentence_transformers"
KNOWN = 4_096  # texts whose vectors are kept
MISSING = (
    "distill.curation.embeddings={!r} needs the package sentence-transformers:"
    " pip install 'agentark-ray[embeddings]'"
)


def embeddings_missing(model: str | None) -> str | None:
    """What the user has to install for these embeddings, or None."""
    return MISSING.format(model) if model and find_spec(LIBRARY) is None else None


class EmbeddingLikeness:
    """A Likeness (solutions.py): cosine of embeddings, 0 where it is negative.

    Texts longer than the model's context are cut by it, as everywhere with embedding models: keep
    one whose context holds a solution. Runs where it is made, on that process's GPU if it has one.
    """

    def __init__(self, model: str, trust_remote_code: bool = False) -> None:
        """`model` is a Hugging Face id or a folder.

        Raises:
            ImportError: the extra is not installed.
        """
        if missing := embeddings_missing(model):
            raise ImportError(missing)
        self._encoder: Any = import_module(LIBRARY).SentenceTransformer(
            model,
            trust_remote_code=trust_remote_code,
            model_kwargs={"use_safetensors": True, "dtype": "float32"},  # bfloat16 cosines: +-0.01
        )
        self._known: dict[str, np.ndarray] = {}  # a question's solutions are compared repeatedly

    def __call__(self, texts_N: Sequence[str]) -> np.ndarray:
        """Array of shape (N, N)."""
        if not texts_N:
            return np.zeros((0, 0))
        new = [text for text in dict.fromkeys(texts_N) if text not in self._known]
        if new:
            if len(self._known) > KNOWN:
                self._known, new = {}, list(dict.fromkeys(texts_N))
            vectors = self._encoder.encode(new, normalize_embeddings=True, show_progress_bar=False)
            self._known |= zip(new, vectors, strict=True)
        vectors_N_D = np.stack([self._known[text] for text in texts_N])
        return np.clip(vectors_N_D @ vectors_N_D.T, 0.0, 1.0)
