"""An evaluation with greedy arms, replicas, a further team and an endpoint, on a real cluster."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pyarrow import dataset
from rich.console import Console

from agentark_ray.config import parse_config
from agentark_ray.evaluation import SUMMARY, answer
from agentark_ray.pipeline import Run, generate, questions
from agentark_ray.reporting import write_report
from agentark_ray.run_folder import RunFolder
from tests.endpoint import listening_beside
from tests.ray.helpers import values_for

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
TEAM = "evaluate.teams={trio: {protocol: verify, verifiers: 2}}"
ARMS = ["single", "single_greedy", "self_consistency", "debate", "big", "trio"]
TYPOS = "changed:typos:0.5"  # a kind of row


class Server:
    """Answers 42 to everything; keeps the requests."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "big", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        self.keys.add(request.headers.get("Authorization"))
        message = {"role": "assistant", "content": "It is \\boxed{42}"}
        return web.json_response(
            {
                **{"id": "c", "object": "chat.completion", "created": 1, "model": "big"},
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
            }
        )


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with listening_beside(found.models, found.chat) as found.url:
        yield found


def counts(folder: RunFolder, name: str) -> Counter[tuple[str, str, int]]:
    rows = dataset.dataset(folder.inner("eval/transcripts", name)).to_table().to_pylist()
    return Counter((row["arm"], row["kind"], row["replica"]) for row in rows)


def evaluated(folder: Path, questions_file: Path, url: str) -> tuple[Run, Run]:
    """A run; and with two samples, a team and an endpoint, as which it is evaluated."""
    values = values_for(
        folder,
        questions_file,
        "engine.rows_per_block=32",
        "engine.in_flight=64",
        "tasks.eval_fraction=0.3",
        "evaluate.latency_queries=1",
        "evaluate.peer_questions=2",
        "evaluate.robustness={questions: 3, kinds: {typos: [0.5]}}",
    )

    def run_with(*overrides: str) -> Run:
        return Run(parse_config({}, [*values, *overrides], "test"), Console(stderr=True))

    run = run_with()
    run.folder.open(run.config, run.model)
    for stage in (questions, generate):
        run.folder.finish_stage(stage.__name__, stage(run))
    endpoint = f"evaluate.endpoints={{big: {{endpoint: '{url}', model: big}}}}"
    more = run_with("evaluate.samples=2", TEAM, endpoint)
    answer(more)
    return run, more


def base_rows(asked: int) -> dict[tuple[str, str, int], int]:
    """What the run's own engine answers of `asked` held-out questions."""
    greedy = {("single_greedy", "main", 0): asked, ("single_greedy", TYPOS, 0): 3}
    second = {("single_check", "main", 0): asked, ("single_peer", "main", 0): 2}
    sampled = {
        (arm, kind, replica): rows
        for arm in ("single", "self_consistency", "debate", "trio")
        for kind, replica, rows in (
            *(("main", 0, asked), ("main", 1, asked)),
            *(("latency", 0, 1), (TYPOS, 0, 3)),
        )
    }
    return {**greedy, **second, **sampled}


def big_rows(asked: int) -> dict[tuple[str, str, int], int]:
    """What the endpoint answers."""
    return {
        **{("big", "main", replica): asked for replica in (0, 1)},
        **{("big", TYPOS, 0): 3, ("big", "latency", 0): 1},
        **{("big_check", "main", 0): asked, ("big_peer", "main", 0): 2},
    }


def check_arms(summary: dict[str, Any], asked: int) -> None:
    arms = summary["arms"]
    assert list(arms) == ARMS
    big, greedy = arms["big"], arms["single_greedy"]
    assert (big["accuracy"], big["n"], big["questions"]) == (1.0, 2 * asked, asked)
    assert big["output_tokens_per_query"] == 4.0
    assert (greedy["n"], greedy["latency_ms"]["n"]) == (asked, 0)
    assert summary["mcnemar"]["big"]["pairs"] == asked
    assert summary["robustness"]["big"]["typos"]["0.5"]["right_clean"] == 3
    assert summary["settings"]["samples"] == 2
    assert summary["transcripts"] == {**dict.fromkeys(ARMS, "base"), "big": "big"}


def check_budget(summary: dict[str, Any]) -> None:
    """Self-consistency spends about what a debate does."""
    voted = summary["self_consistency"]
    cost = voted["measured"]
    assert voted["samples"] == round(cost["debate_tokens"] / cost["answer_tokens"]) > 3
    spent = {name: arm["output_tokens_per_query"] for name, arm in summary["arms"].items()}
    share = spent["self_consistency"] / spent["debate"]
    assert voted["share_of_debate"] == pytest.approx(share)
    assert 0.7 < voted["share_of_debate"] < 1.4


def test_arms_of_all_kinds_answer_once(tmp_path: Path, gsm8k_file: Any, server: Server) -> None:
    run, more = evaluated(tmp_path, gsm8k_file(30), server.url)
    asked = run.finished("questions")["eval"]
    base, own = counts(run.folder, "base"), counts(run.folder, "big")
    assert (base, own) == (base_rows(asked), big_rows(asked))
    summary = run.folder.read_json(*SUMMARY)
    check_arms(summary, asked)
    check_budget(summary)
    assert server.keys == {"Bearer none"}
    assert {request["model"] for request in server.asked} == {"big"}

    write_report(run.folder)
    page = json.loads(Path(run.folder.path("report.json")).read_text())
    assert "big" in json.dumps(page)

    before = len(server.asked)
    answer(more, again=True)  # nothing is answered again
    graded = run.folder.read_json(*SUMMARY)
    assert graded["regraded"] == {"answers": base.total() + own.total(), "changed": 0}
    assert graded["arms"] == summary["arms"]
    assert (len(server.asked), counts(run.folder, "big")) == (before, own)

    answer(run)  # other settings: what they do not ask for is set aside
    fewer = counts(run.folder, "base")
    assert {key for key in fewer if key[2] or key[0] == "trio"} == set()
    assert list(run.folder.read_json(*SUMMARY)["arms"]) == ARMS[:4]
    assert len(counts(run.folder, "base_earlier")) == 7  # replicas of three arms, trio's four

    files = dataset.dataset(run.folder.inner("eval/transcripts/big")).files
    answer(more)  # and comes back
    assert dataset.dataset(run.folder.inner("eval/transcripts/big")).files == files
    assert len(server.asked) == before
    assert run.folder.read_json(*SUMMARY)["arms"] == summary["arms"]

    answer(with_gates(more, accuracy_ratio=0.5))  # decides anew, and answers nothing
    decided = run.folder.read_json(*SUMMARY)
    assert (len(server.asked), counts(run.folder, "base")) == (before, base)
    assert decided["arms"] == summary["arms"]
    assert decided["gates"][0]["threshold"] == decided["gate_settings"]["accuracy_ratio"] == 0.5
    assert "`gates.accuracy_ratio: 0.95 -> 0.5`" in decided["warnings"][0]


def with_gates(run: Run, **gates: Any) -> Run:
    """The run, decided otherwise."""
    changed = run.config.gates.model_copy(update=gates)
    return Run(run.config.model_copy(update={"gates": changed}), run.console)
