"""Flips, drops and second turns, counted from rows made by hand."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import Config, ConfigError, EvaluateConfig, parse_config
from agentark_ray.evaluate.evidence import Flips
from agentark_ray.evaluate.probes import Changed, Probes, probes
from agentark_ray.evaluate.tally import tally
from agentark_ray.evaluation import plans_for
from agentark_ray.robustness_config import (
    Kind,
    RobustnessConfig,
    cell_of,
    ood_kind,
    ood_of,
    row_kind,
)
from agentark_ray.tasks.registry import ood_sets, read_split
from agentark_ray.types import Split

TYPOS, REPEAT = row_kind(Kind.TYPOS, 0.1), row_kind(Kind.REPEAT, 1)


def row(question_id: str, right: bool | None, kind: str = "main", **more: Any) -> dict[str, Any]:
    """A row; right None: the query failed."""
    return {
        "question_id": question_id,
        "arm": "student",
        "kind": kind,
        "replica": 0,
        "status": "failed" if right is None else "ok",
        "verdict": None if right is None else ("correct" if right else "incorrect"),
        "turns": [],
        "wall_s": 0.1,
        "output_tokens": 1,
        "prompt_tokens": 1,
        "cached_tokens": 0,
        "votes": [],
        **more,
    }


def counted(rows: list[dict[str, Any]], asked: int = 100) -> Probes:
    kinds = {Kind.TYPOS: (0.1,), Kind.REPEAT: (1.0,), Kind.OPTIONS: (1.0,)}
    return probes(rows, EvaluateConfig(robustness=RobustnessConfig(questions=asked, kinds=kinds)))


ROWS = [
    *(row(f"q{i}", i < 6) for i in range(10)),  # q0..q5 are right
    row("q0", True, TYPOS),
    row("q1", False, TYPOS),
    row("q2", None, TYPOS),  # failed: wrong
    row("q3", True, TYPOS),
    row("q6", True, TYPOS),
    row("q7", False, TYPOS),
    row("q0", True, REPEAT),
    row("q1", False, REPEAT),
    row("q0", False, arm="debate"),
    row("q0", True, TYPOS, arm="debate"),
]


def test_flips_by_hand() -> None:
    found = counted(ROWS, asked=8)
    want = Changed(right_clean=4, flipped=2, wrong_clean=2, fixed=1, not_applicable=2)
    assert found.cells("student")[Kind.TYPOS, 0.1] == want
    of_typos = found.robustness()["student"]["typos"]["0.1"]
    assert (of_typos["rate"], of_typos["not_applicable"]) == (0.5, 2)
    assert of_typos["low"] == pytest.approx(0.150, abs=1e-3)  # Wilson, 2 of 4
    assert of_typos["high"] == pytest.approx(0.850, abs=1e-3)
    debate = found.robustness()["debate"]["typos"]["0.1"]
    assert (debate["right_clean"], debate["rate"], debate["fixed"]) == (0, None, 1)
    assert (debate["low"], debate["high"], debate["not_applicable"]) == (0, 1, 0)
    flips = [
        Flips(kind="typos", strength=0.1, right=4, flipped=2),
        Flips(kind="options", strength=1, right=0, flipped=0),
    ]
    assert found.flips("student") == flips  # what sampling alone flips is no failure
    assert all(not cell.right for cell in found.flips("nobody"))
    assert list(found.robustness()) == ["debate", "student"]
    assert found.robustness()["student"]["repeat"]["1"]["flipped"] == 1
    none = found.robustness()["student"]["options"]["1"]
    assert (none["right_clean"], none["rate"], none["not_applicable"]) == (0, None, 8)


def test_the_order_of_rows_does_not_matter() -> None:
    assert counted(ROWS[::-1]).robustness() == counted(ROWS).robustness()


def test_more_questions_than_were_asked_for_are_not_missing() -> None:
    cell = counted(ROWS[:16], asked=1_000).cells("student")[Kind.TYPOS, 0.1]
    assert cell.not_applicable == 10 - 6


@given(st.lists(st.tuples(st.booleans(), st.sampled_from((True, False, None))), max_size=30))
def test_counts_add_up(answers: list[tuple[bool, bool | None]]) -> None:
    rows = [row(f"q{i}", clean) for i, (clean, _) in enumerate(answers)]
    rows += [row(f"q{i}", now, TYPOS) for i, (_, now) in enumerate(answers) if now is not None]
    cell = counted(rows).cells("student")[Kind.TYPOS, 0.1]
    assert cell.right_clean + cell.wrong_clean + cell.not_applicable == len(answers)
    right_now = sum(bool(now) for _, now in answers)
    assert cell.right_clean - cell.flipped + cell.fixed == right_now
    assert all(count >= 0 for count in asdict(cell).values())


def test_only_the_first_sample_of_a_question_is_compared() -> None:
    rows = [row("q0", True), row("q0", False, replica=1), row("q0", False, TYPOS)]
    assert counted(rows).cells("student")[Kind.TYPOS, 0.1].flipped == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, row("q0", True, TYPOS)], "answers question q0 twice as 'changed:typos:0.1'"),
        ([row("q9", True, TYPOS)], "question q9 was answered changed, but not as it is"),
        ([row("a", True, ood_kind("x"))] * 2, "question a twice as 'ood:x'"),
    ],
)
def test_rows_that_cannot_be(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        counted(rows).robustness()


def test_drops_by_hand() -> None:
    far = ood_kind("far")
    rows = [row(f"q{i}", i < 8) for i in range(10)]
    rows += [row(f"o{i}", i < 2, far) for i in range(4)]
    rows += [row(f"o{i}", i < 3, far, arm="single") for i in range(1, 4)]
    found = counted(rows)
    student = found.ood()["far"]["student"]
    assert (student["accuracy"], student["n"]) == (0.5, 4)
    assert student["drop"] == pytest.approx(0.3)
    # Wilson: 8 of 10 is 0.490..0.943, 2 of 4 is 0.150..0.850
    assert student["drop_low"] == pytest.approx(0.3 - (0.310**2 + 0.350**2) ** 0.5, abs=2e-3)
    assert student["drop_high"] == pytest.approx(0.3 + (0.143**2 + 0.350**2) ** 0.5, abs=2e-3)
    assert found.ood()["far"]["single"]["drop"] is None  # it did not answer held-out questions
    pair = found.suites("student")["far"]
    assert (pair.n, pair.both, pair.only_first, pair.only_second) == (3, 1, 0, 1)
    assert found.suites("nobody") == {}


def turns(*verdicts: str | None) -> list[dict[str, Any]]:
    return [
        {"agent": 0, "role": "agent", "round": i, "verdict": verdict}
        for i, verdict in enumerate(verdicts)
    ]


def test_second_turns_by_hand() -> None:
    right, wrong = "correct", "incorrect"
    said = [(right, right)] * 3 + [(right, wrong), (wrong, right), (wrong, "unparsable")]
    said += [(right, "timeout"), (right,)]  # undecided; no wrong answer could be made up
    rows = [
        row(f"q{i}", False, arm="student_peer", turns=turns(*verdicts))
        for i, verdicts in enumerate(said)
    ]
    rows.append(row("q0", True, arm="student_check", turns=turns(wrong, right)))
    found = counted(rows)
    peer = found.second_turn("student")["peer"]
    names = ("right_before", "wrong_before", "fixed", "broken", "kept", "undecided")
    assert [peer[name] for name in names] == [4, 2, 0.5, 0.25, 0.75, 1]
    assert (peer["kept_count"], peer["broken_count"], peer["fixed_count"]) == (3, 1, 1)
    assert peer["broken_low"] == pytest.approx(0.046, abs=1e-3)  # Wilson, 1 of 4
    assert peer["broken_high"] == pytest.approx(0.699, abs=1e-3)
    check = found.second_turn("student")["check"]
    assert (check["fixed"], check["broken"], check["kept"]) == (1, None, None)
    assert found.second_turn("debate") == {}


def test_what_probes_count_is_not_counted_elsewhere() -> None:
    rows = [row("q0", True), row("q0", False, TYPOS), row("q0", False, ood_kind("x"))]
    rows.append(row("q0", False, arm="student_peer", turns=turns("correct", "incorrect")))
    found = tally(rows)["student"].result()
    assert (found.n, found.correct, found.self_correction) == (1, 1, None)


@pytest.mark.parametrize("kind", Kind)
def test_kinds_of_rows(kind: Kind) -> None:
    assert cell_of(row_kind(kind, 0.35)) == (kind, 0.35)
    assert cell_of(row_kind(kind, 1)) == (kind, 1.0)
    assert ood_of(row_kind(kind, 1)) is None
    assert ood_of(ood_kind("a:b")) == "a:b"
    assert {cell_of("main"), cell_of("latency"), ood_of("main")} == {None}


def config(*overrides: str) -> Config:
    return parse_config({}, overrides, "test")


def test_plans() -> None:
    evaluate = config(
        "evaluate.robustness.questions=20",
        "evaluate.robustness.kinds={typos: [0.1, 0.3], peer: [2]}",
        "evaluate.robustness.arms=[debate, student]",
        "evaluate.peer_questions=7",
        "evaluate.latency_queries=0",
    ).evaluate
    plans = plans_for(["single", "debate"], evaluate, ["ood", "ood-far"])
    assert [(p.arm, p.kind, p.limit, p.questions) for p in plans] == [
        ("single", "main", None, None),
        ("debate", "main", None, None),
        ("single_check", "main", None, None),
        ("single_peer", "main", 7, None),
        ("debate", "changed:typos:0.1", 20, None),
        ("debate", "changed:typos:0.3", 20, None),
        ("debate", "changed:peer:2", 20, None),
        ("single", "ood:ood", None, "ood"),
        ("single", "ood:far", None, "ood-far"),
        ("debate", "ood:ood", None, "ood"),
        ("debate", "ood:far", None, "ood-far"),
    ]
    own = [plan.kind for plan in plans_for(["my-student"], evaluate, [])]
    assert own.count("changed:peer:2") == 1  # every student is `student`


def test_nothing_is_changed_by_default() -> None:
    assert config().evaluate.robustness.cells == []
    some = RobustnessConfig(questions=1)
    assert {kind for kind, _ in some.cells} == set(Kind) - {Kind.REPEAT, Kind.REORDERED}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("evaluate.robustness.kinds={typos: [2]}", "typos: strength is a share .* got 2"),
        ("evaluate.robustness.kinds={peer: [5]}", "peer: strength is a whole number from 1 to 4"),
        ("evaluate.robustness.kinds={options: [0.5]}", "options: strength is always 1, got 0.5"),
        ("evaluate.robustness.kinds={typos: []}", "kinds.typos: expected strengths"),
        ("evaluate.robustness.kinds={typos: [0.1, 0.1]}", "once each"),
        ("evaluate.robustness.kinds={noise: [1]}", "noise"),
        ("evaluate.robustness.question=3", "did you mean 'evaluate.robustness.questions'"),
        ("evaluate.robustness.arms=[rft]", r"robustness.arms: \['rft'\]"),
        ("evaluate.ood={ood: {task: arithmetic}}", "ood.ood: is the name"),
        ("evaluate.ood={far: {task: gsm8k}}", "the task gsm8k got path=None"),
        ("evaluate.ood={far: {task: arithmetic, path: x}}", "the task arithmetic got path=x"),
        ("evaluate.ood={far: {task: gsm8k, path: x, grader: math}}", "a grader is for"),
        ("evaluate.ood={far: {task: custom, path: x}}", "a grader is for"),
        ("evaluate.ood={'a/b': {task: arithmetic}}", "pattern"),
    ],
)
def test_settings_that_cannot_be(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(override)


def test_a_set_is_part_of_what_a_run_is() -> None:
    one, other = (
        config(f"evaluate.ood={{far: {{task: arithmetic, questions: {n}}}}}") for n in (3, 4)
    )
    assert one.identity()["evaluate.ood.far.questions"] == 3
    assert one.hash() != other.hash() != config().hash()


def _texts(sets: Any, name: str) -> Iterator[str]:
    shards, limit = sets[name]
    assert limit == 600
    return (question.text for question in read_split(shards, Split.OOD, 0))


def test_sets_are_read_by_their_task(tmp_path: Any) -> None:
    path = tmp_path / "far.jsonl"
    path.write_text('{"ask": "2 + 3?", "right": "5"}\n')
    columns = "{text: ask, gold: right}"
    found = config(
        "evaluate.ood.longer={task: arithmetic, questions: 600}",
        f"evaluate.ood.far={{task: custom, grader: numeric, path: {path}, columns: {columns},"
        " questions: 600}",
    ).evaluate.ood
    sets = ood_sets(found, 0)
    assert list(sets) == ["ood-longer", "ood-far"]
    assert list(_texts(sets, "ood-far")) == ["2 + 3?"]
    assert len(list(_texts(sets, "ood-longer"))) == 600
    path.unlink()
    with pytest.raises(ValueError, match=r"evaluate\.ood\.far\.path"):
        ood_sets(found, 0)
