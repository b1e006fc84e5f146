"""The process reward model: loss by hand, packed and padded passes, export and load."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from agentark_ray.config import parse_config
from agentark_ray.debate.layouts import ask, chat
from agentark_ray.distill.packing import pack
from agentark_ray.distill.step_tokens import StepTokens, encode_steps
from agentark_ray.distill.steps import split_steps
from agentark_ray.distill.tokens import IGNORE, Example
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.process_reward import prm_config
from agentark_ray.strategy import PrmConfig
from agentark_ray.tasks.arithmetic import problem
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.train import prm
from agentark_ray.train.grpo_training import grpo_config
from agentark_ray.train.prm import (
    ABOUT,
    BAD,
    GOOD,
    GOOD_SAID,
    SAID,
    ProcessRewardModel,
    StepScorer,
    running_sums,
)
from agentark_ray.train.prm_data import token_labels
from agentark_ray.train.prm_training import prm_loss_sum, said_sum
from agentark_ray.train.sft import collate

TINY = tiny_model_path()
STORIES = [problem("train", index) for index in range(6)]
PROMPTS = [chat("", [ask(story.text, INSTRUCTION)]) for story in STORIES]
TEXTS = [story.solution({0: 1} if index % 2 else {}) for index, story in enumerate(STORIES)]


@pytest.fixture(scope="module")
def model() -> ProcessRewardModel:
    torch.manual_seed(3)
    return ProcessRewardModel(AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32), 16)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(TINY)


def test_the_loss_is_cross_entropy_plus_the_weighted_contrast() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    classes = torch.tensor([0, 1, 0])
    entropy = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(-1)), math.log(1 + math.e)]
    # Anchors 1 and 3 are each other's positive at cosine 0; anchor 1 has the other class at 1.
    contrast = -math.log(1 / (1 + math.exp(2))) - math.log(1 / 2)
    settings = PrmConfig(contrastive_weight=0.5, temperature=0.5)
    loss, parts = prm_loss_sum(logits, vectors, classes, settings)
    assert loss.item() == pytest.approx(sum(entropy) + 0.5 * contrast, rel=1e-5)
    assert parts["cross_entropy"] == pytest.approx(sum(entropy), rel=1e-5)
    assert parts["contrastive"] == pytest.approx(contrast, rel=1e-5)
    assert parts["accuracy"] == 2


def test_good_steps_are_learned_as_language_whatever_their_length() -> None:
    # A good step of 2 tokens, a bad one of 2, one that nobody knows, a good one of 1.
    labels = torch.tensor([GOOD_SAID, GOOD, SAID, BAD, SAID, SAID, GOOD])
    logprobs = torch.tensor([-1.0, -3.0, -50.0, -50.0, -50.0, -50.0, -4.0], requires_grad=True)
    loss = said_sum(logprobs, labels)
    assert loss.item() == pytest.approx((1 + 3) / 2 + 4)
    loss.backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == [-0.5, -0.5, 0, 0, 0, 0, -1]
    assert said_sum(torch.zeros(0), torch.zeros(0, dtype=torch.long)) == 0


def test_labels_of_tokens() -> None:
    found = StepTokens(input_ids=range(12), start=2, ends=[4, 4, 6, 8, 10])
    # The second step ends where the first does, the fourth is unknown; a line end follows the last.
    wanted = [IGNORE] * 2 + [GOOD_SAID] * 2 + [BAD, GOOD_SAID, GOOD, SAID, SAID, SAID, BAD, SAID]
    assert token_labels(found, [True, False, True, None, False]) == wanted


def test_learning_rates_follow_the_students() -> None:
    pad = {"distill": {"type": "pad", "prm": {"epochs": 3}}, "train": {"lr": 5e-4, "epochs": 7}}
    config = parse_config(pad, [], "test")
    assert (prm_config(config).train.lr, prm_config(config).train.epochs) == (5e-4, 3)
    assert grpo_config(config).train.lr == pytest.approx(5e-5)
    own = parse_config(pad, ["distill.prm.lr=0.2", "distill.grpo.lr=0.3"], "test")
    assert (prm_config(own).train.lr, grpo_config(own).train.lr) == (0.2, 0.3)


def test_sums_run_from_where_an_example_begins() -> None:
    positions = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 4, 5, 6]])
    said = torch.tensor([[0, 1, 1, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0, 0]], dtype=torch.bool)
    sums = running_sums(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0]), said, positions)
    assert sums.tolist() == [[0, 1, 3, 0, 0, 4, 12], [0, 0, 0, 16, 48, 48, 48]]


def test_the_head_reads_how_unexpected_a_solution_is(
    model: ProcessRewardModel, tokenizer: Any
) -> None:
    """With a head that reads nothing else: by hand from the language model's probabilities."""
    row = encode_steps(tokenizer, PROMPTS[1], TEXTS[1], {})
    ids = torch.tensor([row.input_ids])
    with torch.inference_mode():
        logprobs = model.backbone(input_ids=ids).logits[0, :-1].log_softmax(-1)
    said = [logprobs[i - 1, ids[0, i]].item() for i in range(row.start, ids.shape[1])]
    wanted = []
    for end in row.ends:
        unexpected = math.log1p(-sum(said[: end + 1 - row.start]))
        wanted.append(1 / (1 + math.exp(2 * unexpected - 1)))
    alone = ProcessRewardModel(model.backbone, 16)
    assert not alone.head.weight[:, -1].any() and alone.head.weight[:, :-1].all()
    with torch.no_grad():
        alone.head.weight.zero_()
        alone.head.weight[:, -1] = torch.tensor([1.0, -1.0]) / math.sqrt(192)
        alone.head.bias.copy_(torch.tensor([-0.5, 0.5]))
    found = StepScorer(alone, tokenizer, {}).score([PROMPTS[1]], [TEXTS[1]])[0]
    assert found == pytest.approx(wanted, abs=1e-5)
    assert max(found) < 0.1  # its first step is wrong
    assert min(StepScorer(alone, tokenizer, {}).score([PROMPTS[0]], [TEXTS[0]])[0]) > 0.3


def test_every_part_learns(model: ProcessRewardModel, tokenizer: Any) -> None:
    row = encode_steps(tokenizer, PROMPTS[0], TEXTS[0], {})
    ids = torch.tensor([row.input_ids])
    places = torch.arange(ids.shape[1])[None]
    at = torch.isin(places, torch.tensor(row.ends))
    logits, vectors, logprobs = model(ids, places, places >= row.start, at)
    assert (len(logits), vectors.shape[1]) == (len(row.ends), 16)
    assert len(logprobs) == ids.shape[1] - row.start
    classes = torch.tensor([1] * (len(row.ends) - 1) + [0])
    prm_loss_sum(logits, vectors, classes, PrmConfig())[0].backward()
    for part in (model.backbone, model.head, model.projector):
        norms = [p.grad.norm().item() for p in part.parameters() if p.grad is not None]
        assert norms and all(math.isfinite(norm) for norm in norms) and sum(norms) > 0
    model.zero_grad()


def test_packed_rows_are_read_as_each_alone(model: ProcessRewardModel, tokenizer: Any) -> None:
    rows = [encode_steps(tokenizer, p, t, {}) for p, t in zip(PROMPTS, TEXTS, strict=True)]
    examples = [
        Example(
            input_ids=row.input_ids,
            labels=token_labels(row, [True] * len(row.ends)),
        )
        for row in rows
    ]
    packed = pack(examples, 512, 0)
    assert len(packed) < len(rows)
    batch = collate(packed, torch.device("cpu"))
    with torch.inference_mode():
        said, at = batch["labels"] != IGNORE, batch["labels"] == GOOD
        logits, _, _ = model(batch["input_ids"], batch["position_ids"], said, at)
    together = logits.softmax(dim=-1)[:, GOOD].tolist()
    alone = StepScorer(model, tokenizer, {}).score(PROMPTS, TEXTS)
    assert sorted(together) == pytest.approx(
        sorted(p for scores in alone for p in scores), abs=1e-5
    )


def test_scores_do_not_depend_on_company(
    model: ProcessRewardModel, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = StepScorer(model, tokenizer, {})
    together = scorer.score([*PROMPTS, PROMPTS[0]], [*TEXTS, " \n"])
    assert [len(scores) for scores in together] == [*(len(split_steps(t)) for t in TEXTS), 0]
    assert len({round(score, 6) for scores in together for score in scores}) > 10
    monkeypatch.setattr(prm, "TOKENS_A_BATCH", 1)
    for prompt, text, scores in zip(PROMPTS, TEXTS, together, strict=False):
        assert scorer.score([prompt], [text]) == [pytest.approx(scores, abs=1e-5)]
    assert scorer.score([], []) == []
    # What comes after a step does not change its score.
    first = TEXTS[0][: split_steps(TEXTS[0])[0].end]
    assert scorer.score([PROMPTS[0]], [first])[0] == pytest.approx(together[0][:1], abs=1e-5)
    with pytest.raises(ValueError, match=r"text 1 has .* tokens with its prompt"):
        scorer.score(PROMPTS[:2], ["a", "so many words " * 2_000])


def test_an_exported_model_scores_alike(tokenizer: Any, tmp_path: Path) -> None:
    backbone = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.bfloat16)
    model = ProcessRewardModel(backbone, 16)
    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    assert {name.split(".")[0] for name in weights} == {"backbone", "head", "projector"}
    heads = {name: value for name, value in weights.items() if not name.startswith("backbone")}
    save_file(heads, tmp_path / "model-1-of-2.safetensors")
    rest = {name: value for name, value in weights.items() if name not in heads}
    save_file(rest, tmp_path / "model-2-of-2.safetensors")
    model.backbone.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    about = {"projector_dim": 16, "chat_template_kwargs": {}}
    (tmp_path / ABOUT).write_text(json.dumps(about))
    wanted = StepScorer(model, tokenizer, {}).score(PROMPTS, TEXTS)
    found = StepScorer.load(str(tmp_path)).score(PROMPTS, TEXTS)
    for scores, want in zip(found, wanted, strict=True):
        assert scores == pytest.approx(want, abs=1e-6)
    save_file(rest, tmp_path / "model-1-of-2.safetensors")
    with pytest.raises(RuntimeError, match=r"Missing key.*head\.weight"):
        StepScorer.load(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=ABOUT):
        StepScorer.load(str(TINY))
