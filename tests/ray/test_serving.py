"""A real Ray Serve application over scripted engines: answers, limits, rollout."""

import json
import random
import string
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray

from agentark_ray.monitoring import Kind, read_requests
from tests.ray.serving import MESSAGES, application, replica_pids, start
from tests.ray.test_metrics import scrape

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PORT = 8911
URL = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with application(tmp_path_factory.mktemp("serving"), PORT) as found:
        yield found


def ask(served: dict[str, Any], model: str, **values: Any) -> Any:
    return served["client"].chat.completions.create(model=model, messages=MESSAGES, **values)


def ask_number(served: dict[str, Any], model: str, number: int) -> Any:
    messages: Any = [{"role": "user", "content": f"{number} + 1 = ?"}]
    return served["client"].chat.completions.create(model=model, messages=messages)


@pytest.mark.parametrize("model", ["student", "base", "debate", "hybrid", "agentark"])
def test_the_official_client_is_answered(served: dict[str, Any], model: str) -> None:
    answer = ask(served, model)
    assert "\\boxed" in answer.choices[0].message.content
    assert answer.usage.completion_tokens >= 10
    chunks = list(ask(served, model, stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "\\boxed" in text
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens >= 10
    without = list(ask(served, model, stream=True))
    assert all(chunk.choices for chunk in without)


def test_models_are_listed(served: dict[str, Any]) -> None:
    names = [model.id for model in served["client"].models.list()]
    assert names == ["agentark", "student", "debate", "hybrid", "base"]
    assert served["client"].models.retrieve("hybrid").id == "hybrid"


def test_a_debate_tells_its_rounds_and_sums_its_tokens(served: dict[str, Any]) -> None:
    answer = ask(served, "debate", extra_body={"agentark": {"trace": True}})
    trace = answer.agentark["trace"]
    assert {turn["agent"] for turn in trace} == {0, 1, 2}
    assert answer.usage.completion_tokens == sum(turn["output_tokens"] for turn in trace)
    chunks = list(ask(served, "debate", stream=True))
    told = [chunk.agentark["event"] for chunk in chunks if getattr(chunk, "agentark", None)]
    assert told == ["turn"] * 3 + ["vote", "answer"]


def test_a_hybrid_says_who_answered(served: dict[str, Any]) -> None:
    paths = Counter()
    for number in range(12):
        told = ask_number(served, "hybrid", number).agentark
        assert (told["path"] == "student") == (told["confidence"] >= -0.5)
        paths[told["path"]] += 1
    assert paths["student"] and paths["debate"]


def refused(status: int, body: Any, headers: dict[str, str] | None = None, path: str = "") -> Any:
    found = httpx.post(
        f"{URL}{path or '/v1/chat/completions'}", content=body, headers=headers or {}, timeout=60
    )
    assert found.status_code == status, found.text
    return found.json()["error"], found.headers


def auth(served: dict[str, Any], key: str = "key") -> dict[str, str]:
    return {"authorization": f"Bearer {served[key]}", "content-type": "application/json"}


def test_without_a_key_nothing_is_answered(served: dict[str, Any]) -> None:
    for headers in ({}, {"authorization": "Bearer ak-wrong"}, {"authorization": served["key"]}):
        error, said = refused(401, b"{}", headers)
        assert error["type"] == "authentication_error" and said["www-authenticate"] == "Bearer"
    assert httpx.get(f"{URL}/v1/models").status_code == 401
    assert httpx.get(f"{URL}/health").json() == {"status": "ok"}


def test_limits(served: dict[str, Any]) -> None:
    headers = auth(served)
    refused(413, b"x" * 20_001, headers)
    refused(413, iter([b"x" * 10_000] * 3), headers)  # chunked: its length is not said before
    many = {"model": "student", "messages": MESSAGES * 4}
    assert refused(413, json.dumps(many), headers)[0]["param"] == "messages"
    long = {"model": "student", "messages": MESSAGES, "max_tokens": 601}
    assert refused(422, json.dumps(long), headers)[0]["param"] == "max_tokens"
    unknown = {"model": "gpt", "messages": MESSAGES}
    assert refused(404, json.dumps(unknown), headers)[0]["code"] == "model_not_found"
    template = {"model": "student", "messages": MESSAGES, "chat_template": "{{ x }}"}
    assert refused(422, json.dumps(template), headers)[0]["param"] == "chat_template"
    debate = {"model": "debate", "prompt": "1 + 1"}
    refused(404, json.dumps(debate), headers, "/v1/completions")


def test_a_key_has_its_requests_a_minute(served: dict[str, Any]) -> None:
    body = json.dumps({"model": "student", "messages": MESSAGES})
    found = [
        httpx.post(f"{URL}/v1/chat/completions", content=body, headers=auth(served, "poor"))
        for _ in range(3)
    ]
    assert [one.status_code for one in found] == [200, 200, 429]
    assert 0 < int(found[2].headers["retry-after"]) <= 30


def test_the_shadow_is_compared_and_records_are_kept(served: dict[str, Any]) -> None:
    for _ in range(5):
        ask(served, "agentark")
    deadline = time.monotonic() + 60
    agreed = 0
    while agreed < 5 and time.monotonic() < deadline:
        time.sleep(1)
        found = httpx.get(f"{URL}/v1/agentark/recent", headers=auth(served)).json()
        agreed = sum(one["agreement"] is True for one in found["requests"])
    assert agreed >= 5
    folder = served["run"].path("served")
    while not Path(folder).is_dir() or not list(Path(folder).glob("*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(1)
    while not (compared := [row for row in read_requests(folder) if row.kind is Kind.SHADOW]):
        assert time.monotonic() < deadline
        time.sleep(1)
    rows = list(read_requests(folder))
    assert {row.student for row in rows} == {"rsft"}
    assert {(row.arm, row.shadow, row.agreement) for row in compared} == {
        ("student", "debate", True)
    }


def test_another_rollout_restarts_nothing(served: dict[str, Any]) -> None:
    """Nor does the way back."""
    before = {name: replica_pids(name) for name in ("EngineServer", "debate", "ingress")}
    assert all(before.values())
    rollout = served["settings"].rollout.model_copy(
        update={"weights": {"debate": 1.0}, "shadow": None}
    )
    changed = served["settings"].model_copy(update={"rollout": rollout})
    for settings, path in ((changed, "debate"), (served["settings"], "student")):
        start(settings)
        deadline = time.monotonic() + 30
        while ask(served, "agentark").agentark["path"] != path:
            assert time.monotonic() < deadline
            time.sleep(0.5)
    assert {name: replica_pids(name) for name in before} == before


MARKER = "zanzibar"  # a word that nothing else says


def test_logs_have_fields_and_no_questions(served: dict[str, Any]) -> None:
    messages: Any = [{"role": "user", "content": f"{MARKER} has 3 apples, how many?"}]
    asked: dict[str, Any] = {"messages": messages, "extra_headers": {"x-request-id": "logged-1"}}
    for model in ("student", "debate", "hybrid"):
        served["client"].chat.completions.create(model=model, **asked)
        list(served["client"].chat.completions.create(model=model, stream=True, **asked))
    httpx.post(f"{URL}/v1/chat/completions", content=json.dumps(messages), headers=auth(served))
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[attr-defined]
    deadline, ended = time.monotonic() + 30, list[dict[str, Any]]()
    while len(ended) < 6:
        assert time.monotonic() < deadline, ended
        time.sleep(1)
        lines = (logs / "serve").glob("replica_agentark_ingress_*.log")
        found = [json.loads(line) for path in lines for line in path.read_text().splitlines()]
        ended = [one for one in found if one.get("response_id") == "chatcmpl-logged-1"]
    assert {one["arm"] for one in ended} == {"student", "debate", "hybrid"}
    assert {one["user"] for one in ended} == {"alice"}
    for path in logs.rglob("*"):
        if path.is_file():
            assert MARKER.encode() not in path.read_bytes(), path


def settled() -> dict[str, float]:
    """The metrics once all of them have come, which a worker sends every 10 s."""
    before: dict[str, float] = {}
    while (found := scrape()) != before:
        before = found
        time.sleep(11)
    return found


def test_metrics_say_what_was_done(served: dict[str, Any]) -> None:
    ask(served, "agentark")
    before = settled()
    debate = ask(served, "debate")
    list(ask(served, "student", stream=True))
    with ask(served, "student", stream=True) as stream:
        next(iter(stream))  # and leaves
    hybrids = [ask_number(served, "hybrid", number) for number in range(6)]
    refused(404, json.dumps({"model": "gpt", "messages": MESSAGES}), auth(served))
    expected = {
        'serve_requests_total{arm="debate",status="200"}': 1,
        'serve_requests_total{arm="student",status="200"}': 1,
        'serve_requests_total{arm="hybrid",status="200"}': 6,
        'serve_requests_total{arm="student",status="499"}': 1,
        'serve_requests_total{arm="none",status="404"}': 1,
        'serve_responses_total{status="404"}': 1,
        'serve_tokens_total{arm="debate",kind="prompt"}': debate.usage.prompt_tokens,
        'serve_tokens_total{arm="debate",kind="output"}': debate.usage.completion_tokens,
        'serve_request_seconds_count{arm="debate"}': 1,
        'serve_request_seconds_bucket{arm="debate",le="300.0"}': 1,
        'serve_first_token_seconds_count{arm="student"}': 2,
        "serve_rounds_sum{}": sum(one.agentark.get("rounds", 0) for one in (debate, *hybrids)),
        "serve_handed_over_total{}": sum(one.agentark["path"] == "debate" for one in hybrids),
    }
    after = settled()
    assert {name: after.get(name, 0) - before.get(name, 0) for name in expected} == expected
    assert after.get("serve_ongoing{}", 0) == 0  # Ray leaves out what nobody has set for a while
    assert after["serve_shadows_total{}"] > 0


def test_other_origins_are_not_let_in(served: dict[str, Any]) -> None:
    origin = {"origin": "https://example.org", "access-control-request-method": "POST"}
    asked = httpx.options(f"{URL}/v1/chat/completions", headers=origin)
    answered = httpx.get(f"{URL}/v1/models", headers={**auth(served), **origin})
    assert (asked.status_code, answered.status_code) == (401, 200)
    for found in (asked, answered):
        assert not any(name.startswith("access-control") for name in found.headers)


REFUSALS = ["400", "401", "404", "405", "413", "422"]


def test_the_openapi_document_is_true(served: dict[str, Any], tmp_path: Path) -> None:
    """Schemathesis: no server errors, no undocumented answers, nothing taken that is no request."""
    config = tmp_path / "schemathesis.toml"  # 413: a text longer than a body may be
    config.write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {REFUSALS}\n")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={config}"),
        *("run", f"{URL}/openapi.json", "--no-color"),
        *("--header", f"Authorization: {auth(served)['authorization']}", "--seed", "17"),
        *("--max-examples", "50", "--exclude-checks", "positive_data_acceptance"),
    ]  # excluded: keys that go together only, and debates take no conversations
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "Tested: 8" in done.stdout


def test_bad_bodies_are_never_a_server_error(served: dict[str, Any]) -> None:
    draw = random.Random(7)
    good = {"model": "student", "messages": MESSAGES, "max_tokens": 1000}  # refused: too many
    values: list[Any] = [None, True, -1, 1e308, "", "\ud800", [], {}, [[]], "x" * 99, 2**70]

    def body() -> bytes:
        kind = draw.randrange(4)
        if kind == 0:
            return bytes(draw.randrange(256) for _ in range(draw.randrange(60)))
        if kind == 1:
            text = json.dumps(good)
            at = draw.randrange(len(text))
            return (text[:at] + draw.choice(string.printable) + text[at + 1 :]).encode()
        if kind == 2:
            return b"[" * draw.randrange(1, 9000)
        spoiled: dict[str, Any] = {**good, draw.choice([*good, "temperature", "stop", "n"]): 0}
        spoiled[draw.choice(list(spoiled))] = draw.choice(values)
        return json.dumps(spoiled).encode()

    with httpx.Client(headers=auth(served), timeout=60) as http:
        found = Counter(
            http.post(f"{URL}/v1/chat/completions", content=body()).status_code
            for _ in range(10_000)
        )
    assert all(status < 500 for status in found), found
    assert ask(served, "student").choices
