"""Perplexity of gold reasoning: by hand, and by a model's own probabilities."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from agentark_ray.config import TasksConfig, parse_config
from agentark_ray.debate.layouts import ask, chat
from agentark_ray.distill.tokens import encode_prompt
from agentark_ray.gold_scores import gold_rows, read_solutions
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks import aqua, gsm8k, hendrycks_math, metamathqa
from agentark_ray.tasks.arithmetic import questions
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_questions
from agentark_ray.traces.schema import STORED_QUESTION_SCHEMA
from agentark_ray.train.gold import GoldReader
from agentark_ray.types import Message, Split

TASKS = TasksConfig()


class Scripted:
    """A token is a word; the n-th of a solution costs n nats. What is `long` cannot be read."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Message]] = []

    def read(self, messages: Sequence[Message], solution: str) -> tuple[float, int] | None:
        self.asked.append(messages)
        words = solution.split()
        return None if "long" in words else (float(sum(range(1, len(words) + 1))), len(words))


def row(text: str, solution: str) -> dict[str, str]:
    return {"question_id": text, "question": text, "task": "arithmetic", "solution": solution}


def test_every_token_counts_alike() -> None:
    reader = Scripted()
    rows = [row("a", "one two three"), row("b", "one"), row("c", "too long")]
    found = read_solutions(reader, rows)
    nll = (1 + 2 + 3 + 1) / 4
    assert found == {
        "solutions": 2,
        "left_out": 1,
        "tokens": 4,
        "nll": nll,
        "perplexity": pytest.approx(math.exp(nll)),
    }
    assert reader.asked[0] == chat("", [ask("a", INSTRUCTION)])
    nothing = read_solutions(reader, rows[2:])
    assert (nothing["nll"], nothing["perplexity"], nothing["solutions"]) == (None, None, 0)


@pytest.fixture(scope="module")
def reader() -> GoldReader:
    return GoldReader.load(str(tiny_model_path()), {})


def test_a_model_reads_what_it_would_say(reader: GoldReader) -> None:
    """The chain rule, one forward pass a token, against the one pass of `read`."""
    (question,) = questions(Split.EVAL, 0, 1)
    assert question.solution is not None
    asked = chat("", [ask(question.text, INSTRUCTION)])
    found = reader.read(asked, question.solution)
    assert found is not None
    tokenizer, model = reader._tokenizer, reader._model
    ids = encode_prompt(tokenizer, asked, {})
    expected = 0.0
    tokens = tokenizer.encode(question.solution, add_special_tokens=False)
    with torch.inference_mode():
        for token in tokens:
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
            expected -= logits.log_softmax(dim=-1)[token].item()
            ids.append(token)
    assert found[1] == len(tokens)
    assert found[0] == pytest.approx(expected, rel=1e-4)


def test_the_right_solution_is_likelier_than_a_wrong_one(reader: GoldReader) -> None:
    rows, wrong = [], []
    for question in questions(Split.EVAL, 0, 8):
        assert question.solution is not None
        rows.append(row(question.text, question.solution))
        wrong.append(row(question.text, question.solution[::-1]))
    assert read_solutions(reader, rows)["perplexity"] < 2
    assert read_solutions(reader, wrong)["perplexity"] > 4


def test_what_is_too_long_or_empty_is_not_read(reader: GoldReader) -> None:
    asked = chat("", [ask("How many?", INSTRUCTION)])
    assert reader.read(asked, "") is None
    assert reader.read(asked, "7 + 7 = 14.\n" * 20_000) is None
    prompt, solution = len(encode_prompt(reader._tokenizer, asked, {})), "7 + 7 = 14."
    tokens = len(reader._tokenizer.encode(solution))
    for context, read in ((prompt + tokens, True), (prompt + tokens - 1, False), (None, True)):
        some = GoldReader(reader._model, reader._tokenizer, {})
        some._context = context
        assert (some.read(asked, solution) is not None) is read


class Marking:
    """A tokenizer that ends texts with a token, unless it is told not to; keeps what it is told."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.told: list[dict[str, Any]] = []

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return [*self.inner.encode(text, add_special_tokens=False), *([0] * add_special_tokens)]

    def apply_chat_template(self, *args: Any, **kwargs: Any) -> Any:
        self.told.append(kwargs)
        return self.inner.apply_chat_template(*args, **kwargs)


def test_no_token_is_added_and_the_template_gets_its_settings(reader: GoldReader) -> None:
    asked = chat("", [ask("How many?", INSTRUCTION)])
    marking = Marking(reader._tokenizer)
    found = GoldReader(reader._model, marking, {"enable_thinking": False}).read(asked, "7.")
    assert found == reader.read(asked, "7.")
    assert [told["enable_thinking"] for told in marking.told] == [False]


def test_on_cpu_the_weights_are_float32(reader: GoldReader) -> None:
    assert {weights.dtype for weights in reader._model.parameters()} == {torch.float32}
    assert not reader._model.training


def test_solutions_of_published_records() -> None:
    answer = "He has 16-3=<<16-3=13>>13 eggs.\nThat is $<<13*2=26>>26.\n#### 26"
    (item,) = gsm8k.parse({"question": "Q?", "answer": answer}, TASKS)
    assert (item.solution, item.gold) == ("He has 16-3=13 eggs.\nThat is $26.", "26")
    (item,) = gsm8k.parse({"question": "Q?", "answer": "#### 26"}, TASKS)
    assert item.solution is None
    solution = "So $x=2$, \\boxed{2}."
    (item,) = hendrycks_math.parse({"problem": "P", "solution": solution}, TASKS)
    assert item.solution == solution
    (item,) = hendrycks_math.parse({"problem": "P", "answer": "2", "solution": solution}, TASKS)
    assert (item.gold, item.solution) == ("2", solution)
    (item,) = hendrycks_math.parse({"problem": "P", "answer": "2"}, TASKS)
    assert item.solution is None
    (item,) = metamathqa.parse({"query": "Q", "response": "So. The answer is: 4"}, TASKS)
    assert item.solution == "So. The answer is: 4"
    record = {"question": "Q", "options": ["A)1", "B)2"], "correct": "B", "rationale": " 1+1 "}
    (item,) = aqua.parse(record, TASKS)
    assert item.solution == "1+1"


def test_the_questions_with_the_least_ids_are_read(tmp_path: Path) -> None:
    sizes = {"train_questions": 3, "eval_questions": 30}
    config = parse_config({"output": str(tmp_path), "tasks": sizes}, [], "test")
    folder = RunFolder(str(tmp_path))
    write_questions(folder, config)
    found = gold_rows(folder, limit=5)
    ids = sorted(question.question_id for question in questions(Split.EVAL, 0, 30, config.seed))
    assert [one["question_id"] for one in found] == ids[:5]
    assert all("\\boxed{" in one["solution"] for one in found)


def test_questions_without_a_solution_are_left_out(tmp_path: Path) -> None:
    rows = [
        dict.fromkeys(STORED_QUESTION_SCHEMA.names)
        | {"question_id": name, "solution": solution, "split": "eval"}
        for name, solution in (("a", "So 1."), ("b", ""), ("c", None), ("d", "So 2."))
    ]
    (tmp_path / "questions").mkdir()
    table = pa.Table.from_pylist(rows, schema=STORED_QUESTION_SCHEMA)
    pq.write_table(table, tmp_path / "questions" / "eval.parquet")
    assert [row["question_id"] for row in gold_rows(RunFolder(str(tmp_path)))] == ["a", "d"]
