"""The pure parts of the benchmarks, by hand."""

import argparse
import asyncio
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from agentark_ray.debate.run import run_debate
from agentark_ray.distill.packing import pack
from agentark_ray.distill.tokens import Example
from agentark_ray.evaluation import plans_for
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import Completion, FinishReason, Message, Question, Sampling
from benchmarks import evaluation
from benchmarks.adaptive import Outcome, against, replay, rules
from benchmarks.common import debate_protocol, finish, gather_at_most, token_sums
from benchmarks.job import Sample, slope, steady
from benchmarks.overhead import ideal_rate
from benchmarks.paper import batch_loop, gain_shares, no_barrier
from benchmarks.sft import over, same_losses
from benchmarks.sft_data import fill, published, rate, real_tokens
from tests.unit.run_folders import run_of
from tests.unit.transcripts import row, write

SAMPLING = Sampling(temperature=1.0, top_p=1.0, max_tokens=9)


def completion(text: str, prompt: int = 10, cached: int = 0) -> Completion:
    return Completion(
        text=text,
        prompt_tokens=prompt,
        cached_tokens=cached,
        output_tokens=len(text),
        finish_reason=FinishReason.STOP,
        mean_logprob=0.0,
        latency_s=0.0,
    )


def question(text: str, gold: str = "7") -> Question:
    return Question(question_id=text, text=text, gold=gold, task="arithmetic", split="eval")


class Counting:
    """Answers 1, 2, 3, ...; the longer a prompt waits in line, the sooner it is answered."""

    def __init__(self) -> None:
        self.prompts: list[Sequence[Message]] = []
        self.running = 0
        self.open_when_asked: list[int] = []

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        self.prompts.append(messages)
        number = len(self.prompts)
        self.open_when_asked.append(self.running)
        self.running += 1
        await asyncio.sleep(0.02 / number)
        self.running -= 1
        return completion(str(number))


class Script:
    """Agents say what `texts_R_A` holds."""

    def __init__(self, texts_R_A: list[list[str]]) -> None:
        self._left = [list(column) for column in zip(*texts_R_A, strict=True)]

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        return completion(self._left[agent].pop(0))


async def test_the_paper_codes_loop_asks_everybody_then_waits() -> None:
    generate = Counting()
    asked = [question("P?"), question("Q?")]
    held = await batch_loop(asked, generate, agents=2, rounds=2, sampling=SAMPLING, aggregate=True)
    assert [c.text for c in held] == [str(n) for n in range(1, 11)]
    # 4 at once, a barrier, 4 at once, a barrier, 2 aggregations at once.
    assert generate.open_when_asked == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    second_agent_of_q = generate.prompts[7]
    assert [m["role"] for m in second_agent_of_q] == ["user", "assistant", "user"]
    assert second_agent_of_q[1]["content"] == "4"
    assert "Agent 1:\n3" in second_agent_of_q[2]["content"]
    merged = generate.prompts[9][0]["content"]
    assert merged.startswith("Q?") and "Solution 1:\n7" in merged and "Solution 2:\n8" in merged


async def test_ours_makes_the_same_completions_without_aggregation() -> None:
    generate = Counting()
    held = await no_barrier(
        [question("P?"), question("Q?")],
        generate,
        in_flight=1,
        agents=2,
        rounds=2,
        layout="shared",
        max_tokens=9,
    )
    assert len(held) == 8
    assert max(generate.open_when_asked) == 1  # one debate at a time: two agents
    one, other = (prompt[0]["content"] for prompt in generate.prompts[2:4])
    assert one.replace("agent 1", "agent 2") == other


async def test_rules_stop_where_they_would_have_stopped() -> None:
    protocol = debate_protocol(agents=3, rounds=3, stop="fixed")
    scripts = [
        [["7", "7", "7"], ["7", "7", "8"], ["8", "8", "8"]],  # unanimous and right at once
        [["7", "5", "5"], ["5", "5", "5"], ["7", "7", "7"]],  # unanimous and wrong in round 2
        [["7", "7", "5"], ["7", "7", "5"], ["7", "5", "5"]],  # never unanimous, stable in round 2
    ]
    debates = [
        await run_debate(question(str(i)), protocol, Script(script), NUMERIC)
        for i, script in enumerate(scripts)
    ]
    team = {"agents": 3, "rounds": 3}
    fixed = await replay(debates, stop="fixed", **team)
    assert (fixed.rounds, fixed.right) == ([3, 3, 3], [False, True, False])
    unanimous = await replay(debates, stop="unanimous", **team)
    assert (unanimous.rounds, unanimous.right) == ([1, 2, 3], [True, False, False])
    assert unanimous.output_tokens == [3, 6, 9]
    stable = await replay(debates, stop="stable", **team)
    assert (stable.rounds, stable.right) == ([1, 2, 2], [True, False, True])
    quorum = await replay(debates, stop="quorum", quorum=0.6, **team)
    assert (quorum.rounds, quorum.right) == ([1, 1, 1], [True, False, True])
    assert {"fixed", "unanimous", "stable", "quorum_0.6"} <= set(rules())
    figures = against(quorum, fixed)
    assert figures["token_ratio"] == 3.857  # 27 tokens over 2 + 2 + 3
    assert figures["points_lost"] == pytest.approx(-33.33)
    assert (figures["only_rule_right"], figures["only_fixed_right"]) == (2, 1)


async def test_a_failed_debate_is_no_figure() -> None:
    async def broken(agent: int, messages: Sequence[Message], sampling: Sampling) -> Completion:
        raise OSError("planted")

    with pytest.raises(RuntimeError, match="OSError: planted"):
        await no_barrier([question("P?")], broken, in_flight=1, agents=2, rounds=1)


def test_shares_of_the_gain_add_up() -> None:
    shares = gain_shares({"paper_code": 1.0, "no_barrier": 2.0, "ours": 8.0})
    assert shares == {"paper_code -> no_barrier": 0.333, "no_barrier -> ours": 0.667}


def test_figures_against_the_fixed_rule() -> None:
    fixed = Outcome(output_tokens=[30, 30], rounds=[3, 3], right=[True, True])
    rule = Outcome(output_tokens=[10, 30], rounds=[1, 3], right=[False, True])
    assert against(rule, fixed) == {
        "token_ratio": 1.5,
        "accuracy": 0.5,
        "points_lost": 50.0,
        "only_rule_right": 0,
        "only_fixed_right": 1,
        "output_tokens_per_question": 20.0,
        "mean_rounds": 2.0,
        "stopped_after_first": 0.5,
    }


def test_the_steady_part_is_a_line() -> None:
    # 10 debates/s in the middle; a slow start and a slow end are left out.
    done = [1, 20, 40, 60, 80, 99]
    seconds = [9.0, 10.0, 12.0, 14.0, 16.0, 40.0]
    samples = [
        Sample(seconds=s, done=d, output_tokens=d, cpu_s=s / 2)
        for s, d in zip(seconds, done, strict=True)
    ]
    part = steady(samples, 100)
    assert [sample.done for sample in part] == [20, 40, 60, 80]
    assert slope([s.seconds for s in part], [s.done for s in part]) == pytest.approx(10.0)
    assert ideal_rate(2, 64, 2, 0.05) == 1280.0


async def test_no_more_jobs_than_allowed() -> None:
    running = most = 0

    async def job() -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return most

    assert len(await gather_at_most(3, [job] * 10)) == 10
    assert most == 3


def test_the_result_is_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    finish("x", {"a": 1.23456}, {"n": 2})
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (last["name"], last["ratios"], last["details"]["n"]) == ("x", {"a": 1.235}, 2)
    sums = token_sums([completion("ab", prompt=30, cached=20), completion("c", prompt=10)])
    assert sums["output_tokens"] == 3
    assert (sums["cached_share"], sums["prefilled_tokens"]) == (0.5, 20)


def test_every_part_has_options_and_quick_sizes() -> None:
    from benchmarks.debate import PARTS, parser

    for name, part in PARTS.items():
        args = parser().parse_args([name, "--quick"])
        assert isinstance(args, argparse.Namespace)
        assert set(part.QUICK) < set(vars(args))


def test_an_evaluation_is_compared_with_what_is_allowed_and_with_bare_vllm() -> None:
    # 1,000 questions in 300 of 360 s; 600,000 tokens in them are 2,000 a second
    found = evaluation.ratios(300.0, 1_000, 600_000, 2_500.0)
    assert found == {"evaluation": pytest.approx(1.2), "output_tokens_per_s": pytest.approx(0.8)}
    assert evaluation.ratios(300.0, 500, 600_000, None) == {"evaluation": pytest.approx(0.6)}
    assert (evaluation.parse([]).questions, evaluation.parse(["--quick"]).questions) == (1_000, 20)


def test_an_evaluation_has_five_arms_and_nothing_else(tmp_path: Path) -> None:
    source = run_of(tmp_path)
    write(tmp_path / "run" / "traces", [row("debate", "q1", "rrw", "rrr")])
    config = evaluation.evaluation_config(source, f"{tmp_path}/new", 40, 0)
    assert (config.output, config.tasks.eval_questions) == (f"{tmp_path}/new", 40)
    # a debate of six turns costs as much as six answers
    assert config.evaluate.self_consistency_samples == 6
    plans = plans_for(
        (*config.evaluate.base_arms, *config.evaluate.student_arms("student")), config.evaluate, ()
    )
    asked = {plan.arm: plan.limit for plan in plans if plan.kind == "main"}
    assert {arm for arm, limit in asked.items() if limit is None} == {
        *evaluation.ARMS,
        *("single_check", "student_check"),
    }
    assert set(asked.values()) == {None, 0}
    assert {plan.kind for plan in plans} == {"main"}


def test_the_prompts_of_an_evaluation_are_those_of_its_transcripts(tmp_path: Path) -> None:
    folder = run_of(tmp_path)
    write(
        tmp_path / "run/eval/transcripts/base",
        [row("single", "q1", "r"), row("debate", "q1", "rw")],
    )
    prompts, tokens = evaluation.asked_of(folder, "base")
    assert (len(prompts), tokens) == (3, 30)
    assert prompts[0] == [{"role": "user", "content": "long prompt"}]


def test_training_counts_tokens_without_padding() -> None:
    """The best fit of 8, 5, 4, 3 in rows of 8 is [8], [5, 3], [4 and padding]."""
    lengths = (3, 5, 8, 4)
    rows = pack([Example(input_ids=[1] * n, labels=[1] * n) for n in lengths], 8, 0)
    assert sorted(map(real_tokens, rows)) == [4, 8, 8]


def test_rates_of_training_are_of_all_steps_and_compared_by_medians() -> None:
    run = {"tokens": [100, 300], "seconds": [1.0, 3.0], "cpu_seconds": [0.5, 1.5]}
    assert rate(run) == 100
    assert rate(run, "cpu_seconds") == 200
    rates = {"ours": [9.0, 30.0, 31.0], "trl": [10.0, 20.0, 1000.0], "bare": [40.0]}
    assert over(("trl", "bare"), rates) == {
        "tokens_per_s_over_trl": 1.5,
        "tokens_per_s_over_bare": 0.75,
    }


def test_the_bare_loop_must_learn_the_same() -> None:
    same_losses([1.0, 0.5], [1.04, 0.49])
    with pytest.raises(AssertionError, match="losses of the same batches"):
        same_losses([1.0, 0.5], [1.0, 0.6])


def test_training_data_fill_their_rows() -> None:
    args = argparse.Namespace(seed=3, seq_len=256, data=None)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path())
    found, rows = fill(args, tokenizer, 6)
    lengths = [len(example.input_ids) for example in found]
    assert len(rows) == 6
    assert max(lengths) <= 256
    assert sum(lengths[:-1]) < 6 * 256 <= sum(lengths)
    assert 0.8 < sum(map(real_tokens, rows)) / (6 * 256) <= 1


def test_published_records_are_questions_and_answers_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "some.jsonl"
    file.write_text('{"question": "1 + 1?", "answer": "2"}\n{"question": "2 + 2?", "answer": "4"}')
    first, second, third = itertools.islice(published(str(file)), 3)
    assert (first[1], second[1], third[1]) == ("2", "4", "2")
    assert first[0][-1]["content"].startswith("1 + 1?")
