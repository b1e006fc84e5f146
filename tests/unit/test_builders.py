"""RSFT, DA and RFT rows, each counted by hand on small debates."""

import random
from typing import Any

import pytest

from agentark_ray.debate.layouts import CHECK
from agentark_ray.distill.curate import Curated, curate
from agentark_ray.distill.rows import Drop, RowKind, TrainingRow
from agentark_ray.distill.solutions import step_shingles
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.similar import jaccard
from agentark_ray.strategy import DaConfig, RftConfig, RsftConfig, StrategyConfig
from tests.unit.debates import RIGHT, WRONG, debate, said

ASK = {"role": "user", "content": f"How many?\n{INSTRUCTION}"}
GOOD = "In May: 1 + 2 = 3.\nIn June: 3 + 1 = 4.\n\\boxed{4}"
OTHER = "Twice two apples are what there is.\n\\boxed{4}"
SLIP = "In May: 1 + 2 = 3.\nIn June: 3 + 1 = 5.\n\\boxed{5}"
ASTRAY = "It must be seven of them.\n\\boxed{7}"


def built(config: StrategyConfig, *traces: dict[str, Any]) -> Curated:
    return curate(traces, config, config.type)  # type: ignore[attr-defined]


def rsft(*traces: dict[str, Any]) -> Curated:
    return built(RsftConfig(), *traces)


def da(*traces: dict[str, Any], **values: float) -> Curated:
    return built(DaConfig.model_validate({"type": "da", "drafts": 1, **values}), *traces)


def rft(*traces: dict[str, Any], trajectories: int = 3) -> Curated:
    return built(RftConfig(type="rft", trajectories=trajectories), *traces)


def targets(curated: Curated, kind: RowKind = RowKind.SOLVE) -> list[str]:
    return [row.target for row in curated.rows if row.kind is kind]


def check(draft: str) -> list[dict[str, str]]:
    """What the evaluation's second look sends: the messages of layout `check`."""
    return [ASK, {"role": "assistant", "content": draft}, {"role": "user", "content": CHECK}]


def test_rsft_takes_the_likeliest_right_answer() -> None:
    found = rsft(
        debate(
            [
                said("wrong", WRONG, -0.01),
                said("right", logprob=-0.5),
                said(" best\n", logprob=-0.2),
                said("longer yet", logprob=-0.2),
                said("the judge's", logprob=-0.1, role="judge"),
            ]
        )
    )
    assert found.rows == [TrainingRow(question_id="q", messages=[ASK], target="best")]  # type: ignore[list-item]
    assert [s.dropped for s in found.solutions] == [None, Drop.NOT_CHOSEN, Drop.NOT_CHOSEN]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "failed"}, Drop.FAILED),
        ({"status": "prompt_too_long"}, Drop.FAILED),
        ({"verdict": "incorrect"}, Drop.WRONG),
        ({"final_answer": None, "verdict": "unparsable"}, Drop.NO_ANSWER),
        ({"verdict": "timeout"}, Drop.TIMEOUT),
        ({"verdict": None}, Drop.UNGRADED),
    ],
)
def test_a_debate_without_a_right_consensus_is_dropped_with_its_reason(
    more: dict[str, Any], reason: Drop
) -> None:
    assert rsft(debate([said("right")], **more)).dropped is reason


def test_a_question_says_what_is_wrong_with_its_best_solution() -> None:
    cut = said("right", logprob=-0.1, finish_reason="length")
    assert rsft(debate([cut])).dropped is Drop.TRUNCATED
    refers = said("Agent 1 says 4", logprob=-0.01)
    assert rsft(debate([cut, refers])).dropped is Drop.REFERS
    assert rsft(debate([said("no", WRONG)])).dropped is Drop.NO_RIGHT  # an aggregator was right
    assert rsft(debate([])).dropped is Drop.NO_RIGHT


def test_a_double_of_another_question_gives_nothing_but_is_counted() -> None:
    found = curate([debate([said("right")])], RsftConfig(), "rsft", duplicate=True)
    assert (found.dropped, found.rows, found.facts.right) == (Drop.DUPLICATE_QUESTION, (), 1)


def test_several_debates_on_a_question_are_one_row_of_the_best() -> None:
    first = debate([said("first", logprob=-0.4)], debate_id="a")
    wrong = debate([said("likely", logprob=-0.1)], debate_id="b", verdict="incorrect")
    third = debate([said("third", logprob=-0.2)], debate_id="c")
    assert targets(rsft(first, wrong, third)) == ["third"]


def test_da_takes_the_most_different_right_solutions_of_any_round() -> None:
    trace = debate(
        [
            said(GOOD, logprob=-0.1),
            said(GOOD.replace("May", "Mai"), logprob=-0.2),
            said(SLIP, WRONG),
        ],
        [said(GOOD), said(GOOD), said(OTHER, logprob=-0.9)],
        verdict="incorrect",
    )
    found = da(trace, trajectories=2, corrections=0, confirmations=0)
    assert targets(found) == [GOOD, OTHER]
    assert [s.dropped for s in found.solutions] == [
        None,
        Drop.NOT_CHOSEN,
        Drop.DUPLICATE,
        Drop.DUPLICATE,
        None,
    ]
    learned = [step_shingles(GOOD), step_shingles(OTHER)]
    assert found.diversity_after == pytest.approx(1 - jaccard(*learned))
    assert found.diversity_before is not None and found.diversity_after is not None
    assert found.diversity_before < found.diversity_after


def test_a_corrected_path_is_draft_critique_revision() -> None:
    found = da(debate([said(SLIP, WRONG)], [said(GOOD)]), confirmations=0)
    (row,) = [row for row in found.rows if row.kind is RowKind.CORRECT]
    assert row.messages == check(SLIP)
    assert row.target == f"This step is wrong: In June: 3 + 1 = 5.\n{GOOD}"


def test_a_draft_on_another_way_has_only_a_wrong_answer() -> None:
    found = da(debate([said(ASTRAY, WRONG, answer="7")], [said(GOOD)]), confirmations=0)
    assert targets(found, RowKind.CORRECT) == [f"The answer 7 is wrong.\n{GOOD}"]


def test_the_draft_is_the_last_wrong_turn_before_the_agent_stays_right() -> None:
    trace = debate(
        [said(ASTRAY, WRONG)], [said(GOOD)], [said(SLIP, WRONG)], [said(GOOD)], [said(OTHER)]
    )
    (row,) = [row for row in da(trace).rows if row.kind is RowKind.CORRECT]
    assert row.messages == check(SLIP)
    assert row.target.endswith(GOOD)


def test_a_revision_that_speaks_of_others_gives_way_to_the_solution_most_like_the_draft() -> None:
    trace = debate(
        [said(SLIP, WRONG), said(OTHER, logprob=-0.1), said(GOOD, logprob=-0.9)],
        [said(f"Agent 3 is right.\n{GOOD}"), said(OTHER), said(GOOD)],
    )
    assert targets(da(trace), RowKind.CORRECT) == [
        f"This step is wrong: In June: 3 + 1 = 5.\n{GOOD}"
    ]


def test_who_did_not_end_right_or_was_not_wrong_before_gives_no_correction() -> None:
    trace = debate(
        [said(SLIP, WRONG), said(GOOD), said("?", "unparsable"), said(SLIP, "timeout"), said(GOOD)],
        [said(SLIP, WRONG), said(SLIP, WRONG), said(GOOD), said(GOOD), said(GOOD)],
    )
    assert targets(da(trace), RowKind.CORRECT) == []


def test_the_most_different_mistakes_are_corrected_and_equal_ones_once() -> None:
    slip = SLIP.replace("June", "Juni")
    trace = debate(
        [said(SLIP, WRONG), said(SLIP, WRONG), said(slip, WRONG), said(ASTRAY, WRONG)],
        [said(GOOD)] * 4,
    )
    drafts = [
        row.messages[1]["content"] for row in da(trace, corrections=2).rows if row.kind == "correct"
    ]
    assert drafts == [SLIP, ASTRAY]
    assert len(targets(da(trace, corrections=9), RowKind.CORRECT)) == 3


def test_an_unfit_draft_is_not_shown() -> None:
    cut = said(SLIP, WRONG, finish_reason="length")
    assert targets(da(debate([cut], [said(GOOD)])), RowKind.CORRECT) == []


def test_a_verifiers_words_are_the_critique() -> None:
    def review(verdict: str, agent: int) -> dict[str, Any]:
        return said(f"June adds up to 4. Verdict: {verdict}", None, role="verifier", agent=agent)

    trace = debate(
        [said(SLIP, WRONG, role="solver"), review("correct", 1), review("incorrect", 2)],
        [said(GOOD, role="solver"), review("correct", 1), review("correct", 2)],
    )
    assert targets(da(trace), RowKind.CORRECT) == [f"June adds up to 4. Verdict: incorrect\n{GOOD}"]


def test_who_was_right_and_stayed_so_confirms_the_draft() -> None:
    trace = debate(
        [said(GOOD, logprob=-0.9), said(OTHER, logprob=-0.2), said(GOOD), said(SLIP, WRONG)],
        [said(GOOD), said(GOOD), said(SLIP, WRONG), said(GOOD)],
    )
    (row,) = [row for row in da(trace).rows if row.kind is RowKind.CONFIRM]
    assert row.messages == check(OTHER)
    assert row.target == f"I find no mistake.\n{OTHER}"
    assert len(targets(da(trace, confirmations=5), RowKind.CONFIRM)) == 2
    assert targets(da(trace, confirmations=0), RowKind.CONFIRM) == []


def test_who_spoke_once_and_was_right_confirms_too() -> None:
    assert targets(da(debate([said(GOOD)])), RowKind.CONFIRM) == [f"I find no mistake.\n{GOOD}"]


def test_da_never_learns_from_a_question_that_nobody_solved() -> None:
    found = da(debate([said(SLIP, WRONG)], [said(ASTRAY, WRONG)]))
    assert (found.rows, found.dropped) == ([], Drop.NO_RIGHT)
    assert da(debate([said(GOOD)], status="failed")).dropped is Drop.FAILED
    assert da(debate([said(GOOD, None)])).dropped is Drop.UNGRADED
    assert da(debate([said(GOOD, "timeout"), said(SLIP, WRONG)])).dropped is Drop.TIMEOUT


def test_a_share_of_the_questions_has_rows_with_a_draft() -> None:
    trace = debate([said("a 1"), said("b 2", WRONG)], [said("a 1"), said("b 1")])
    kinds = [
        {row.kind for row in da({**trace, "question_id": f"q{i}"}, drafts=0.25).rows}
        for i in range(400)
    ]
    some = sum(found == {RowKind.SOLVE, RowKind.CORRECT, RowKind.CONFIRM} for found in kinds)
    assert 70 < some < 130
    assert sum(found == {RowKind.SOLVE} for found in kinds) == 400 - some
    again = [da({**trace, "question_id": f"q{i}"}, drafts=0.25).rows for i in range(9)]
    assert [{row.kind for row in rows} for rows in again] == kinds[:9]  # nothing but the id decides


def test_rft_takes_first_answers_only() -> None:
    trace = debate(
        [said(GOOD, logprob=-0.5), said(SLIP, WRONG), said("b 4", role="negative")],
        [said(OTHER, logprob=-0.1), said(GOOD), said("c 4")],
        verdict="incorrect",
    )
    found = rft(trace)
    assert targets(found) == [GOOD]
    assert all(row.messages == [ASK] for row in found.rows)


def test_rft_spends_what_the_debate_cost_and_no_more() -> None:
    held = debate(
        [said("a b 4"), said("c d 4")], [said("e f 4"), said("g h 4")], debate_id="z"
    )  # 12 tokens: 6 first answers, 6 revisions
    more = [
        debate([said(f"{i} i j 4")], debate_id=f"s{i}", arm="self_consistency") for i in (1, 2, 3)
    ]  # 4 tokens each
    found = rft(*more, held, trajectories=9)
    # 3 + 3 of the debate, then 4 of the first sample; with the second it would be 14
    assert found.sampling is not None
    assert (found.sampling.budget, found.sampling.spent, found.sampling.samples) == (12, 10, 3)
    assert sorted(targets(found)) == ["1 i j 4", "a b 4", "c d 4"]


def test_rft_without_debates_uses_all_samples() -> None:
    samples = [debate([said(f"{i} 4")], debate_id=f"s{i}", arm="single") for i in range(3)]
    found = rft(*samples).sampling
    assert found is not None
    assert (found.budget, found.spent, found.samples) == (6, 6, 3)


def test_rft_has_at_most_as_many_rows_as_asked() -> None:
    texts = [f"{i} {i} {i} 4" for i in range(6)]
    assert len(targets(rft(debate([said(t) for t in texts]), trajectories=2))) == 2


@pytest.mark.parametrize(
    "config", [RsftConfig(), DaConfig(type="da", drafts=1), RftConfig(type="rft")]
)
def test_rows_do_not_depend_on_the_order_of_debates_and_turns(config: StrategyConfig) -> None:
    rng = random.Random(3)
    texts = [(GOOD, RIGHT), (OTHER, RIGHT), (SLIP, WRONG), (ASTRAY, WRONG)]
    traces = [
        debate(
            *(
                [said(*rng.choice(texts), logprob=-rng.random()) for _ in range(4)]
                for _ in range(3)
            ),
            debate_id=f"d{i}",
        )
        for i in range(3)
    ]
    wanted = built(config, *traces)
    assert wanted.rows
    for _ in range(20):
        shuffled = [{**trace, "turns": rng.sample(trace["turns"], 12)} for trace in traces]
        rng.shuffle(shuffled)
        found = built(config, *shuffled)
        assert (found.rows, found.solutions, found.facts) == (
            wanted.rows,
            wanted.solutions,
            wanted.facts,
        )
