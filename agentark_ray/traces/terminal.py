"""Debates and their statistics on a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from agentark_ray.page.form import number, percent
from agentark_ray.types import DebateStatus, FinishReason, Role

VERDICTS = {
    "correct": ("right", "green"),
    "incorrect": ("wrong", "red"),
    "unparsable": ("no answer", "yellow"),
    "timeout": ("grading timed out", "yellow"),
    None: ("not graded", "dim"),
}
NUMBERED = (Role.AGENT, Role.VERIFIER)  # a debate may have several of them
CHANGES = {"corrected": "bold green", "corrupted": "bold red", "changed": "yellow", "kept": "dim"}


def printable(text: str) -> str:
    """Text a model wrote, with control characters made visible: a terminal would obey them."""
    return "".join(
        char if char in "\n\t" or char.isprintable() else repr(char)[1:-1] for char in text
    )


def render_debate(view: Mapping[str, Any]) -> Group:
    """A `show.debate_view`, to be read from top to bottom."""
    return Group(
        _heading(view),
        *(part for round_ in view["rounds"] for part in _round(round_, view["model"])),
        Rule(style="dim"),
        _outcome(view),
    )


def _heading(view: Mapping[str, Any]) -> RenderableType:
    table = _facts(
        {
            "debate": f"{view['debate_id']}  ({view['arm']}, {view['kind']})",
            "model": view["model"],
            "question": view["question"],
            "gold": "none" if view["gold"] is None else view["gold"],
        }
    )
    return Padding(table, (1, 0, 0, 0))


def _round(round_: Mapping[str, Any], main_model: str) -> Iterator[RenderableType]:
    yield Padding(Rule(f"Round {round_['round'] + 1}", align="left", style="dim"), (1, 0, 0, 0))
    yield from (_turn(turn, main_model) for turn in round_["turns"])
    if vote := round_["vote"]:
        text = f"vote: {vote['count']} of {vote['agents']} for {_answer(vote['answer'])}  "
        yield Text.assemble((text, "bold"), VERDICTS[vote["verdict"]])


def _turn(turn: Mapping[str, Any], main_model: str) -> Panel:
    title = [(f"{_who(turn)}  {_answer(turn['answer'])}  ", "bold"), VERDICTS[turn["verdict"]]]
    if turn["change"]:
        title.append((f"  {turn['change']}", CHANGES[turn["change"]]))
    cut = ", cut at the limit" if turn["finish_reason"] == FinishReason.LENGTH else ""
    tokens = f"{turn['output_tokens']:,} output, {turn['prompt_tokens']:,} prompt tokens"
    model = "" if turn["model"] == main_model else f"{printable(turn['model'])}: "
    return Panel(
        Group(*_messages(turn), Text(printable(turn["text"]))),
        title=Text.assemble(*title),
        subtitle=Text(f"{model}{tokens} ({turn['cached_tokens']:,} cached){cut}", style="dim"),
        title_align="left",
        subtitle_align="right",
        border_style="dim",
    )


def _who(turn: Mapping[str, Any]) -> str:
    number_ = f" {turn['agent'] + 1}" if turn["role"] in NUMBERED else ""
    return str(turn["role"]).capitalize() + number_


def _messages(turn: Mapping[str, Any]) -> Iterator[Text]:
    for message in turn.get("messages", ()):
        role = f"[{printable(message['role'])}] "
        yield Text.assemble((role, "bold"), printable(message["content"]), "\n", style="dim")


def _answer(answer: str | None) -> str:
    return "no answer" if answer is None else printable(answer)


def _outcome(view: Mapping[str, Any]) -> RenderableType:
    word, style = VERDICTS[view["verdict"]]
    table = _facts({})
    if view["status"] == DebateStatus.OK:
        answer = Text.assemble(f"{_answer(view['final_answer'])}  ", (word, style))
        table.add_row("final answer", answer)
        table.add_row("stopped by", Text(str(view["stop_reason"])))
    else:
        error = f"{view['status']}: {view['error_type']}: {view['error_message']}"
        table.add_row("status", Text(printable(error), style="bold red"))
    tokens = ", ".join(
        f"{view[f'{name}_tokens']:,} {name}" for name in ("output", "prompt", "cached")
    )
    table.add_row("tokens", Text(tokens))
    table.add_row("wall time", Text(f"{view['wall_s']:.2f} s"))
    return table


def _facts(facts: Mapping[str, str]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, Text(printable(value)))
    return table


def render_stats(found: Mapping[str, Any]) -> Group:
    """What `stats.stats` returned; it fits into 100 columns."""
    tables = (_figures(found), _rounds_table(found), _paths_table(found), _stops_table(found))
    return Group(*(Padding(table, (1, 0, 0, 0)) for table in tables))


def _figures(found: Mapping[str, Any]) -> Table:
    return _facts(figures(found))


def figures(found: Mapping[str, Any]) -> dict[str, str]:
    """The single figures of `stats.stats`, in words."""
    statuses = ", ".join(f"{count:,} {status}" for status, count in found["status"].items())
    wall = found["wall_s"]
    facts = {
        "debates": f"{found['debates']:,} ({statuses})",
        "accuracy of the final answer": f"{percent(found['accuracy'])} of {found['graded']:,}",
        **{name.replace("_", " "): _tokens(found, name) for name in found["tokens"]},
        "prompt tokens from the cache": percent(found["cached_share"]),
        "wall time of a debate": f"p50 {_seconds(wall['p50'])}, p95 {_seconds(wall['p95'])}"
        " (from a histogram, within 1.2 %)",
    }
    if found["shortened_turns"]:
        facts["turns without the oldest rounds"] = f"{found['shortened_turns']:,}, too long"
    if found["cost"]:
        facts |= {
            f"cost, {name.replace('_', ' ')}": _usd(usd) for name, usd in found["cost"].items()
        }
    return facts


def _tokens(found: Mapping[str, Any], name: str) -> str:
    return f"{found['tokens'][name]:,}, {number(found['tokens_per_debate'][name])} a debate"


def _seconds(value: float | None) -> str:
    return percent(None) if value is None else f"{value:,.3g} s"


def _usd(value: float) -> str:
    return f"{value:,.2f} USD" if value >= 1 else f"{value:.2g} USD"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    return table


def _rounds_table(found: Mapping[str, Any]) -> Table:
    table = _table("round", "vote accuracy", "agreement", "still debating")
    for row in found["rounds"]:
        shares = (percent(row[key]) for key in ("vote_accuracy", "agreement", "running"))
        table.add_row(str(row["round"] + 1), *shares)
    return table


def _paths_table(found: Mapping[str, Any]) -> Table:
    table = _table("first round to last, of agents that spoke twice", "right after", "wrong after")
    paths = found["paths"]
    table.add_row("right before", f"{paths['kept_right']:,}", f"{paths['corrupted']:,}")
    table.add_row("wrong before", f"{paths['corrected']:,}", f"{paths['stayed_wrong']:,}")
    if paths["undecided"]:
        table.add_row("not graded at either end", "", f"{paths['undecided']:,}")
    return table


def _stops_table(found: Mapping[str, Any]) -> Table:
    table = _table("stopped", "debates")
    for stop in found["stops"]:
        plural = "" if stop["rounds"] == 1 else "s"
        when = f"after {stop['rounds']} round{plural}: {stop['reason']}"
        table.add_row(when, f"{stop['debates']:,}")
    return table
