"""The threshold of a hybrid, on cases counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.evaluate.hybrid import NEVER, Case, calibrate


def case(confidence: float, student: bool, debate: bool = True, tokens: int = 10) -> Case:
    return Case(
        confidence=confidence,
        student_right=student,
        debate_right=debate,
        student_tokens=tokens,
        debate_tokens=100,
    )


# Sure answers are right, unsure ones wrong, in both halves; the debate is right everywhere.
CASES = [case(c, c > -0.3) for c in (-0.1, -0.15, -0.2, -0.25, -0.4, -0.45, -0.5, -0.55)]


def test_sure_answers_stay_and_unsure_ones_are_handed_over() -> None:
    found = calibrate(CASES, 1.0)
    assert found.threshold == -0.25
    # The halves' own thresholds are -0.2 (even places) and -0.25 (odd places): the second question
    # of -0.25 is judged by -0.2 and handed over.
    assert found.handed_over == 5 / 8
    assert found.accuracy == 1.0
    assert found.token_ratio == (8 * 10 + 5 * 100) / 800
    assert (found.debate_accuracy, found.student_accuracy) == (1.0, 0.5)


def test_a_lower_target_hands_over_less() -> None:
    assert calibrate(CASES, 0.75).threshold == -0.45


def test_a_student_that_is_better_answers_all_it_can_read() -> None:
    cases = [*[case(-0.1 * n, True, debate=False) for n in range(1, 7)], case(NEVER, False)]
    found = calibrate([*cases, case(NEVER, False)], 1.0)
    assert found.threshold == pytest.approx(-0.6)


def test_equal_confidences_go_together() -> None:
    cases = [case(-0.2, True), case(-0.2, True), case(-0.2, False), case(-0.2, False)]
    found = calibrate(cases, 1.0)
    assert found.handed_over == 1.0


def test_a_target_out_of_reach_says_the_best() -> None:
    with pytest.raises(ValueError, match=r"no threshold reaches 1\.2 x the debate's accuracy"):
        calibrate(CASES, 1.2)
    with pytest.raises(ValueError, match="got 1 questions"):
        calibrate(CASES[:1], 1.0)


@given(
    st.lists(
        st.builds(
            case,
            st.floats(-3, 0) | st.just(NEVER),
            st.booleans(),
            st.booleans(),
            st.integers(1, 50),
        ),
        min_size=2,
    ),
    st.floats(0.5, 1.0),
)
def test_the_threshold_reaches_the_target_where_it_was_chosen(
    cases: list[Case], target: float
) -> None:
    found = calibrate(cases, target)
    right = sum(
        one.student_right if one.confidence >= found.threshold else one.debate_right
        for one in cases
    )
    assert right >= target * sum(one.debate_right for one in cases)
