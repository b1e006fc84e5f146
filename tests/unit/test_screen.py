"""What is wrong with a solution, whatever its answer; and that real solutions pass."""

import json
from collections import Counter

import pytest

from agentark_ray.distill.rows import Drop
from agentark_ray.distill.screen import count_words, fault, other_script, repetition, scripts
from agentark_ray.similar import words
from agentark_ray.strategy import CurationConfig
from tests.unit.real_files import GSM8K_FILES, needs_gsm8k

ENGLISH = "How many apples does Tom have now?"
CHINESE = "\u6c64\u59c6\u73b0\u5728\u6709\u591a\u5c11\u4e2a\u82f9\u679c\uff1f"
RUSSIAN = "\u0421\u043a\u043e\u043b\u044c\u043a\u043e \u044f\u0431\u043b\u043e\u043a \u0443 \u0422?"
CHINESE_SOLUTION = "\u6240\u4ee5\u6c64\u59c6\u73b0\u5728\u6709 $3+4=7$ \u4e2a\u82f9\u679c"
ENGLISH_SOLUTION = "Tom has three apples and then he buys four more of them, so 3 + 4 = 7."


def judged(text: str, question: str = ENGLISH, finish: str = "stop", **more: object) -> Drop | None:
    return fault(text, finish, question, CurationConfig.model_validate(more))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (ENGLISH_SOLUTION, None),
        ("7", None),
        ("", Drop.EMPTY),
        ("5 + 3 = 8\n" * 10, Drop.REPETITIVE),
        ("the " * 40, Drop.REPETITIVE),
        ("So it is " + "a" * 30, Drop.REPETITIVE),
        ("!" * 100 + " seven", Drop.REPETITIVE),
        (f"{ENGLISH_SOLUTION} {CHINESE_SOLUTION}", Drop.OTHER_SCRIPT),
        (CHINESE_SOLUTION, Drop.OTHER_SCRIPT),
        ("Agent 2 is right, so 3 + 4 = 7.", Drop.REFERS),
        ("As the other agents say, it is 7.", Drop.REFERS),
        ("My previous answer was wrong; it is 7.", Drop.REFERS),
        ("The equation has no other solutions but 7.", None),
        ("The agent 007 buys 7.", None),
    ],
)
def test_one_solution(text: str, reason: Drop | None) -> None:
    assert judged(text) is reason


def test_a_cut_solution_is_truncated_whatever_else() -> None:
    assert judged("the " * 40, finish="length") is Drop.TRUNCATED


def test_words_have_limits() -> None:
    assert judged("one two three", min_words=3) is None
    assert judged("one, two !?", min_words=3) is Drop.TOO_FEW_WORDS
    assert judged("one two three", max_words=3) is None
    assert judged("one two three 4", max_words=3) is Drop.TOO_MANY_WORDS


def test_a_question_about_agents_may_be_answered_so() -> None:
    assert judged("Agent 2 sells 7.", "How many does agent 2 sell?") is None


def test_repetition_by_hand() -> None:
    # 20 tokens are 17 runs of 4, of which the first 5 are all that is new
    assert repetition(words("5 + 3 = 8\n" * 4)) == pytest.approx(1 - 5 / 17)
    assert repetition(words("a b c d " * 3)) == 0.0  # 9 runs: too short to tell
    assert judged("5 + 3 = 8\n" * 4) is Drop.REPETITIVE
    assert judged("5 + 3 = 8\n" * 4, max_repetition=0.8) is None


def test_counted_words_are_no_signs() -> None:
    assert count_words(words("3 + 4 = 7, so: seven.")) == 5


def test_scripts_by_hand() -> None:
    text = "Let x = \\frac{1}{2} and \u03c0 be so \u0441\u043b\u043e\u0432\u043e \u6211\u6709"
    assert scripts(text) == Counter(LATIN=4, CYRILLIC=1, CJK=2)


@pytest.mark.parametrize(
    ("question", "text", "other"),
    [
        (CHINESE, CHINESE_SOLUTION, False),
        (CHINESE, ENGLISH_SOLUTION, True),
        (CHINESE, "\\boxed{7}", False),
        (CHINESE, "7 km", False),
        (RUSSIAN, "\u0423 \u0422\u043e\u043c\u0430 3 + 4 = 7.", False),
        (RUSSIAN, ENGLISH_SOLUTION, True),
        (ENGLISH, "The Russian word is \u044f\u0431\u043b\u043e\u043a\u043e.", False),
        ("3 + 4 = ?", ENGLISH_SOLUTION, False),  # a question without words is in no script
    ],
)
def test_scripts_of_question_and_solution(question: str, text: str, other: bool) -> None:
    assert other_script(question, text) is other
    assert (judged(text, question) is Drop.OTHER_SCRIPT) is other
    assert judged(text, question, same_script=False) is not Drop.OTHER_SCRIPT


@needs_gsm8k
def test_published_solutions_pass() -> None:
    path = next(p for p in sorted(GSM8K_FILES.glob("*.jsonl")) if "test" in p.name)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    found = Counter(judged(record["answer"], record["question"]) for record in records)
    assert found[None] >= 0.999 * len(records), found
