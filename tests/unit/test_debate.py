"""Layouts, votes and run_debate on hand-made dialogues."""

import asyncio
import random
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import parse_config
from agentark_ray.debate.layouts import CHECK, LAYOUTS, REVISE
from agentark_ray.debate.protocol import arm_protocol, generation_hash
from agentark_ray.debate.run import run_debate
from agentark_ray.debate.vote import clusters, majority, unanimous
from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.grading.base import Grader, GradingTimeout
from agentark_ray.grading.numeric import NUMERIC, equal
from agentark_ray.traces.schema import REQUEST_SCHEMA, trace_row
from agentark_ray.types import Completion, Debate, FinishReason, Message, Question, Sampling
from tests.unit.votes import counted

QUESTION = Question(question_id="q", text="2 + 2?", gold="4", task="gsm8k", split="train")
FIRST = f"2 + 2?\n{NUMERIC.instruction}"


class Script:
    """Answers by a table [round][agent]; remembers what it was given."""

    def __init__(self, answers_R_A: Sequence[Sequence[str]]) -> None:
        self.answers_R_A = answers_R_A
        self.asked: list[tuple[int, Sequence[Message]]] = []
        self._round = [0] * 64

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        self.asked.append((agent, messages))
        text = self.answers_R_A[self._round[agent]][agent]
        self._round[agent] += 1
        return Completion(
            text=text,
            prompt_tokens=10,
            cached_tokens=0,
            output_tokens=3,
            finish_reason=FinishReason.STOP,
            mean_logprob=-0.1,
            latency_s=0.01,
        )


def hold(script: object, *overrides: str, arm: str = "debate") -> Debate:
    config = parse_config({}, ["debate.agents=3", *overrides], "test")
    return asyncio.run(run_debate(QUESTION, arm_protocol(config, arm), script, NUMERIC))  # type: ignore[arg-type]


def test_paper_layout_is_own_history_and_the_others_last_answers() -> None:
    messages = LAYOUTS["paper"]("Q", "I", [["a0", "b0", "c0"], ["a1", "b1", "c1"]], 1, "P")
    assert messages == [
        {"role": "system", "content": "P"},
        {"role": "user", "content": "Q\nI"},
        {"role": "assistant", "content": "b0"},
        {
            "role": "user",
            "content": "Solutions of other agents:\n\nAgent 1:\na0\n\nAgent 3:\nc0\n\n" + REVISE,
        },
        {"role": "assistant", "content": "b1"},
        {
            "role": "user",
            "content": "Solutions of other agents:\n\nAgent 1:\na1\n\nAgent 3:\nc1\n\n" + REVISE,
        },
    ]


def test_shared_layout_differs_between_agents_only_at_its_end() -> None:
    prompts = [LAYOUTS["shared"]("Q", "I", [["a0", "b0"]], agent, "") for agent in (0, 1)]
    first, second = (prompt[0]["content"] for prompt in prompts)
    assert first == (
        "Q\nI\n\nSolutions of round 1:\n\nAgent 1:\na0\n\nAgent 2:\nb0\n\n"
        + REVISE
        + "\nYou are agent 1."
    )
    assert first.removesuffix("1.") == second.removesuffix("2.")


def test_check_layout_asks_for_a_check_of_the_own_answer() -> None:
    messages = LAYOUTS["check"]("Q", "I", [["a0"]], 0, "")
    assert [m["content"] for m in messages] == ["Q\nI", "a0", CHECK]


@pytest.mark.parametrize("layout", ["paper", "shared", "check"])
def test_the_first_round_is_the_same_in_every_layout(layout: str) -> None:
    assert LAYOUTS[layout]("Q", "I", [], 4, "") == [{"role": "user", "content": "Q\nI"}]


def test_votes_count_equal_answers_not_equal_strings() -> None:
    assert clusters(["1/2", None, "3", "0.50"], equal) == [[0, 3], [2]]
    assert majority(["1/2", None, "3", "0.50"], equal) == ("1/2", 2)
    assert majority([None, None], equal) == (None, 0)
    assert majority(["7", "8"], equal) == ("7", 1)


def near(a: str, b: str) -> bool:
    """Symmetric and reflexive, but not transitive."""
    return abs(int(a) - int(b)) <= 1


@given(st.lists(st.sampled_from([None, *"013467"]), min_size=1, max_size=9), st.randoms())
def test_clusters_do_not_depend_on_the_order_of_agents(
    answers: list[str | None], rng: random.Random
) -> None:
    order = rng.sample(range(len(answers)), len(answers))
    mixed = clusters([answers[i] for i in order], near)
    back = {frozenset(order[a] for a in group) for group in mixed}
    assert back == {frozenset(group) for group in clusters(answers, near)}


def test_answers_linked_by_a_chain_share_a_group() -> None:
    assert clusters(["1", "3", "5", "2"], near) == [[0, 1, 3], [2]]


def test_unanimous_needs_an_answer_of_everyone() -> None:
    assert unanimous(counted(["1", "1.0"]))
    assert not unanimous(counted(["1", None]))
    assert not unanimous(counted([None, None]))


async def test_a_slow_grader_does_not_stop_the_event_loop_and_may_time_out() -> None:
    """While one debate is graded others go on; a comparison without result is no match."""
    here = threading.get_ident()

    def slow_equal(a: str, b: str) -> bool:
        assert threading.get_ident() != here
        if "bomb" in (a, b) and a != b:
            raise GradingTimeout
        return a == b

    grader = Grader(
        name="slow", instruction="", extract=lambda text: text, equal=slow_equal, slow=True
    )
    script = Script([["4", "bomb", "5"], ["bomb", "4", "4"]])
    config = parse_config({"debate": {"agents": 3, "rounds": 2, "stop": "fixed"}}, [], "test")
    debate = await run_debate(QUESTION, arm_protocol(config, "debate"), script, grader)
    assert debate.status == "ok", debate.error_message
    verdicts = [turn.verdict for turn in debate.turns]
    assert verdicts == ["correct", "timeout", "incorrect", "timeout", "correct", "correct"]
    assert (debate.final_answer, debate.final_verdict) == ("4", "correct")
    assert [(vote.count, vote.verdict) for vote in debate.votes] == [(1, "correct"), (2, "correct")]


@given(st.lists(st.sampled_from(["1", "1.0", "2", "4/2", "3", None]), min_size=1, max_size=9))
def test_clusters_hold_every_answer_once_and_shrink(answers: list[str | None]) -> None:
    found = clusters(answers, equal)
    agents = sorted(agent for group in found for agent in group)
    assert agents == [i for i, answer in enumerate(answers) if answer is not None]
    assert [len(g) for g in found] == sorted((len(g) for g in found), reverse=True)
    counts = [{equal(str(answers[a]), str(answers[b])) for a in g for b in g} for g in found]
    assert all(same == {True} for same in counts)


def test_agents_revise_after_reading_and_the_last_vote_counts() -> None:
    script = Script([["#### 5", "#### 4", "#### 5"], ["#### 4", "#### 4", "#### 5"]])
    debate = hold(script)
    assert [(v.answer, v.count) for v in debate.votes] == [("5", 2), ("4", 2)]
    assert (debate.final_answer, debate.final_verdict) == ("4", "correct")
    assert (debate.status, debate.stop_reason) == ("ok", "rounds")
    assert [(t.round, t.agent, t.verdict) for t in debate.turns] == [
        (0, 0, "incorrect"),
        (0, 1, "correct"),
        (0, 2, "incorrect"),
        (1, 0, "correct"),
        (1, 1, "correct"),
        (1, 2, "incorrect"),
    ]
    assert script.asked[0][1] == [{"role": "user", "content": FIRST}]
    assert script.asked[3][1] == LAYOUTS["paper"](
        "2 + 2?", NUMERIC.instruction, [["#### 5", "#### 4", "#### 5"]], 0, ""
    )
    assert list(debate.turns[3].messages) == script.asked[3][1]


def test_all_rounds_can_be_counted_instead_of_the_last() -> None:
    answers = [["#### 4", "#### 4", "#### 4.0"], ["#### 5", "#### 5", "#### 4"]]
    last = hold(Script(answers), "debate.stop=fixed")
    every = hold(Script(answers), "debate.stop=fixed", "debate.aggregate=vote_all_rounds")
    assert (last.final_answer, every.final_answer) == ("5", "4")
    assert every.votes == last.votes


def test_unanimous_stops_before_the_second_round_and_fixed_does_not() -> None:
    answers = [["#### 4"] * 3, ["#### 5"] * 3]
    early = hold(Script(answers), "debate.stop=unanimous")
    assert (early.stop_reason, len(early.turns), early.final_answer) == ("unanimous", 3, "4")
    full = hold(Script(answers), "debate.stop=fixed")
    assert (full.stop_reason, len(full.turns), full.final_answer) == ("rounds", 6, "5")


def test_arms_are_debates_of_other_sizes() -> None:
    single = hold(Script([["#### 4"]]), arm="single")
    assert len(single.turns) == 1
    consistency = hold(Script([["#### 4", "#### 5", "#### 4.0"]]), arm="self_consistency")
    assert (len(consistency.turns), consistency.final_answer) == (3, "4")
    checked = hold(Script([["#### 5"], ["#### 4"]]), arm="single_check")
    assert [t.verdict for t in checked.turns] == ["incorrect", "correct"]
    assert checked.turns[1].messages[-1]["content"] == CHECK


def test_an_exception_becomes_a_failed_row_that_keeps_what_was_said() -> None:
    class Breaks(Script):
        async def __call__(
            self, agent: int, messages: Sequence[Message], sampling: Sampling
        ) -> Completion:
            if agent == 2 and len(self.asked) >= 3:
                raise OSError("no route")
            return await super().__call__(agent, messages, sampling)

    debate = hold(Breaks([["#### 4", "#### 5", "#### 6"]] * 2))
    assert (debate.status, debate.error_type, debate.error_message) == (
        "failed",
        "OSError",
        "no route",
    )
    said = [(turn.round, turn.agent) for turn in debate.turns]
    assert said == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]  # also beside the one who failed
    assert debate.final_answer is None
    assert debate.final_verdict is None
    assert debate.stop_reason is None


def test_a_dead_engine_is_not_a_failed_row() -> None:
    class Dead(Script):
        async def __call__(
            self, agent: int, messages: Sequence[Message], sampling: Sampling
        ) -> Completion:
            raise EngineDead("gone")

    with pytest.raises(EngineDead):
        hold(Dead([["x"] * 3]))


class Short(Script):
    """Has room for one user turn only in `paper`: any history is too long."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        if len(messages) > 1:
            raise PromptTooLong(99, 50)
        return await super().__call__(agent, messages, sampling)


def test_a_prompt_that_does_not_fit_is_its_own_status() -> None:
    debate = hold(Short([["#### 4", "#### 5", "#### 4"]] * 2))
    assert (debate.status, debate.error_type) == ("prompt_too_long", "PromptTooLong")
    assert "99 tokens" in str(debate.error_message)


def test_dropping_the_oldest_round_makes_room() -> None:
    script = Short([["#### 4", "#### 5", "#### 4"]] * 2)
    debate = hold(script, "debate.too_long=drop_oldest_round")
    assert debate.status == "ok"
    assert [list(t.messages) for t in debate.turns[3:]] == [
        [{"role": "user", "content": FIRST}]
    ] * 3
    assert [t.dropped_rounds for t in debate.turns] == [0, 0, 0, 1, 1, 1]
    request = dict.fromkeys(REQUEST_SCHEMA.names, "x")
    assert trace_row(request, debate, model="m", speakers=())["shortened_turns"] == 3


def test_agents_of_a_round_answer_at_the_same_time() -> None:
    waiting = 0
    peak = 0

    class Slow(Script):
        async def __call__(
            self, agent: int, messages: Sequence[Message], sampling: Sampling
        ) -> Completion:
            nonlocal waiting, peak
            waiting += 1
            peak = max(peak, waiting)
            await asyncio.sleep(0.01)
            waiting -= 1
            return await super().__call__(agent, messages, sampling)

    hold(Slow([["#### 4"] * 3]))
    assert peak == 3


def test_the_generation_hash_covers_what_is_said_and_nothing_else() -> None:
    def of(*overrides: str, arm: str = "debate", model: str = "m") -> str:
        return generation_hash(parse_config({}, overrides, "t"), model, arm)

    assert of("train.lr=0.1", "gates.p95_ms=1", "engine.in_flight=2") == of()
    changed = [of("debate.agents=4"), of("seed=1"), of(arm="single"), of(model="n")]
    changed += [of("debate.temperature=0.1"), of("engine.max_model_len=100")]
    assert len({of(), *changed}) == 7
