"""BERTScore of summaries (Zhang et al., 1904.09675), where the extra `bertscore` is installed.

It loads a model of its own (1.4 GB by default), so that no grader calls it; it is for reports.
"""

from collections.abc import Sequence
from importlib import import_module

MODEL = "roberta-large"  # what the paper recommends for English


def bert_scores(
    answers: Sequence[str],
    golds: Sequence[str],
    model: str = MODEL,
    layer: int | None = None,
    batch_size: int = 32,
) -> list[float]:
    """F1 of BERTScore for each pair, about 0 to 1, without rescaling.

    Args:
        answers: texts to be judged.
        golds: as many right texts.
        model: a Hugging Face id or a folder.
        layer: the hidden layer that is compared; None where bert-score knows the model's best.
        batch_size: texts a forward pass.

    Raises:
        ImportError: the extra is not installed.
        ValueError: as many answers as golds are needed.
    """
    if len(answers) != len(golds):
        raise ValueError(f"BERTScore needs pairs, got {len(answers)} answers, {len(golds)} golds")
    try:
        library = import_module("bert_score")
    except ImportError as error:
        raise ImportError(
            "BERTScore needs the package bert-score: pip install 'agentark-ray[bertscore]'"
        ) from error
    if not answers:
        return []
    scorer = library.BERTScorer(model_type=model, num_layers=layer, lang="en")
    _, _, f1 = scorer.score(list(answers), list(golds), batch_size=batch_size)
    return [float(value) for value in f1]
