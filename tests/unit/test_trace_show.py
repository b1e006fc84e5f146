"""Showing one debate: found among many, what changed, and nothing a terminal would obey."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset
from rich.console import Console
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.config import ConfigError
from agentark_ray.traces.show import (
    change,
    debate_view,
    find_by_id,
    find_by_index,
    find_by_question,
)
from agentark_ray.traces.terminal import render_debate
from tests.unit.transcripts import failed, row, turn, write

ROWS = [
    row("debate", "q1", "rrr", stop_reason="unanimous"),
    row("debate", "q2", "rwww", "rrww"),
    row("debate", "q3", "rw", "wr"),
    failed("debate", "q4", "rw", error_message="too \x1b[2J slow"),
    row("debate", "q5", "r"),
]


@pytest.fixture
def traces(tmp_path: Path) -> dataset.Dataset:
    return write(tmp_path / "traces", ROWS)


def text_of(view: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render_debate(view))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("index", range(5))
def test_every_debate_is_found_by_id_index_and_question(
    traces: dataset.Dataset, index: int
) -> None:
    wanted = f"q{index + 1}"
    assert find_by_id(traces, f"debate-main-{wanted}")["question_id"] == wanted
    assert find_by_index(traces, index)["question_id"] == wanted
    assert find_by_question(traces, f"TEXT of {wanted}")["question_id"] == wanted


def test_of_several_questions_the_first_is_shown(traces: dataset.Dataset) -> None:
    assert find_by_question(traces, "text of")["question_id"] == "q1"


def test_what_is_not_there_is_named(traces: dataset.Dataset) -> None:
    with pytest.raises(ConfigError, match="no debate 'nope'; an id that exists: 'debate-main-q1'"):
        find_by_id(traces, "nope")
    with pytest.raises(ConfigError, match="there are 5 debates"):
        find_by_index(traces, 5)
    with pytest.raises(ConfigError, match="contains 'moon'"):
        find_by_question(traces, "moon")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("correct", "correct", "kept"),
        ("incorrect", "correct", "corrected"),
        ("unparsable", "correct", "corrected"),
        ("correct", "incorrect", "corrupted"),
        ("correct", "unparsable", "corrupted"),
        ("incorrect", "incorrect", "kept"),
        ("incorrect", "unparsable", "changed"),
    ],
)
def test_change(before: str, after: str, expected: str) -> None:
    assert change(turn(0, 0, before), turn(0, 1, after)) == expected


def test_change_looks_at_wrong_answers_but_not_at_how_right_ones_are_written() -> None:
    wrong, right = turn(0, 0, "incorrect"), turn(0, 0, "correct")
    assert change(wrong, wrong | {"answer": "6"}) == "changed"
    assert change(right, right | {"answer": "4.0"}) == "kept"
    assert change(None, right) is None


def test_a_view_has_rounds_turns_changes_and_votes() -> None:
    view = debate_view(ROWS[1])
    changes = [[said["change"] for said in round_["turns"]] for round_ in view["rounds"]]
    assert changes == [[None] * 4, ["kept", "corrected", "kept", "kept"]]
    assert [round_["vote"]["count"] for round_ in view["rounds"]] == [3, 2]
    assert "messages" not in view["rounds"][0]["turns"][0]
    assert view["output_tokens"] == 80


def test_speakers_are_told_apart_by_role_as_well() -> None:
    judged = row("debate", "q1", "ww", "rr")
    judge = turn(1, 1, "incorrect") | {"role": "judge"}
    judged["turns"].append(judge)
    last = debate_view(judged)["rounds"][1]["turns"]
    assert [(said["role"], said["change"]) for said in last] == [
        ("agent", "corrected"),
        ("agent", "corrected"),
        ("judge", None),
    ]
    assert "Judge  5  wrong" in text_of(debate_view(judged))


def test_a_turn_names_a_model_that_is_not_the_arms() -> None:
    mixed = row("debate", "q1", "rw") | {"model": "m", "models": ["m", "other"]}
    view = debate_view(mixed)
    assert [said["model"] for said in view["rounds"][0]["turns"]] == ["m", "other"]
    assert text_of(view).count("other: 10 output") == 1
    assert "m: 10 output" not in text_of(view)


def test_the_text_has_everything_in_order() -> None:
    text = text_of(debate_view(ROWS[2]))
    words = (
        "debate-main-q3",
        "text of q3",
        "Round 1",
        "Agent 1  4  right",
        "Agent 2  5  wrong",
        "10 output, 20 prompt tokens (0 cached)",
        "vote: 1 of 2 for 4  right",
        "Round 2",
        "Agent 1  5  wrong  corrupted",
        "Agent 2  4  right  corrected",
        "final answer  4  right",
        "stopped by    rounds",
        "40 output, 80 prompt, 0 cached",
    )
    places = [text.find(word) for word in words]
    assert -1 not in places, words[places.index(-1)]
    assert text.index("said") < text.index("vote")


def test_prompts_are_shown_when_asked() -> None:
    assert "long prompt" not in text_of(debate_view(ROWS[2]))
    assert text_of(debate_view(ROWS[2], prompts=True)).count("[user] long prompt") == 4


def test_a_failed_debate_shows_its_error_and_no_control_character() -> None:
    text = text_of(debate_view(ROWS[3]))
    assert "failed: TimeoutError: too \\x1b[2J slow" in text
    assert "\x1b" not in text


def test_what_models_say_is_neither_markup_nor_control() -> None:
    evil = row("debate", "q1", "r")
    evil["turns"][0]["text"] = "[bold]a[/bold] \x1b]0;title\x07 \u202eb\nnext\tline"
    text = text_of(debate_view(evil))
    assert "[bold]a[/bold] \\x1b]0;title\\x07 \\u202eb" in text
    assert "next" in text


def agentark(*args: object) -> Result:
    return CliRunner().invoke(app, ["traces", "show", *map(str, args)])


def test_the_command_shows_the_first_debate(tmp_path: Path, traces: dataset.Dataset) -> None:
    done = agentark(tmp_path)
    assert done.exit_code == 0, done.output
    assert "text of q1" in done.stdout


def test_the_command_prints_one_json_object(tmp_path: Path, traces: dataset.Dataset) -> None:
    done = agentark(tmp_path, "debate-main-q2", "--json", "--prompts")
    found = json.loads(done.stdout)
    first = found["rounds"][0]["turns"][0]
    assert (found["question_id"], first["role"]) == ("q2", "agent")
    assert first["messages"] == [{"role": "user", "content": "long prompt"}]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("nope",), "error: no debate 'nope'; an id that exists: 'debate-main-q1'"),
        (("debate-main-q1", "--index", 1), "one of DEBATE_ID, --question and --index"),
        (("--index", 5), "there are 5 debates"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, traces: dataset.Dataset, args: tuple[Any, ...], expected: str
) -> None:
    done = agentark(tmp_path, *args)
    assert done.exit_code == 2
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_without_traces_is_named(tmp_path: Path, made: bool) -> None:
    if made:
        (tmp_path / "nothing").mkdir()
    done = agentark(tmp_path / "nothing")
    assert done.exit_code == 2
    assert "nothing: no traces; expected a run folder with traces/ in it" in done.stderr
