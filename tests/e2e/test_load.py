"""`agentark load` against a server in a thread, and what it refuses."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from typer.testing import CliRunner

from agentark_ray.cli import app
from agentark_ray.config import parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.requests import write_questions
from tests.e2e.test_cli import agentark
from tests.endpoint import KEY, listening_beside

pytestmark = pytest.mark.e2e


async def models(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != f"Bearer {KEY}":
        return web.json_response({"error": f"not {KEY}"}, status=401)
    return web.json_response({"data": [{"id": "student"}]})


class Server:
    """Streams 42 in two parts; keeps the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((await request.json())["messages"][0]["content"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in (
            {"choices": [{"delta": {"content": "4"}}]},
            {"choices": [{"delta": {"content": "2"}}]},
            {"choices": [], "usage": {"completion_tokens": 2}},
        ):
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
            await asyncio.sleep(0.02)
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    with listening_beside(models, server.chat) as server.url:
        yield server


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("run")
    sizes = {"train_questions": 3, "eval_questions": 5}
    config = parse_config({"output": str(path), "tasks": sizes}, [], "test")
    folder = RunFolder(str(path))
    folder.open(config, "m")
    write_questions(folder, config)
    return folder


def test_a_server_under_load(server: Server, run: RunFolder, tmp_path: Path) -> None:
    before = len(server.asked)
    key = tmp_path / "key"
    key.write_text(f"{KEY}\n")
    common = ["load", run.uri, "--url", server.url, "--api-key-file", str(key)]
    done = agentark(*common, "--rates", "20,40", "--seconds", "1", "--target-ttft-ms", "5000")
    assert done.returncode == 0, done.stderr
    assert "student (server)" in done.stdout and "keeps up with" in done.stdout
    entry: dict[str, Any] = run.read_json("eval", "load.json")["arms"]["student (server)"]
    assert [one["offered"] for one in entry["rates"]] == [20.0, 40.0]
    assert all(one["good_share"] == 1.0 for one in entry["rates"])
    assert entry["rates"][0]["e2e_ms"]["p50"] >= 40
    n_asked = sum(one["requests"] for one in entry["rates"]) + 1
    asked = server.asked[before:]
    assert len(asked) == n_asked  # the first one is not counted
    assert (entry["questions"], len(set(asked))) == (5, 5)
    assert all("\\boxed" in text for text in asked)

    options = ["--name", "other", "--rates", "30", "--seconds", "1", "--plain", "--json"]
    done = agentark(*common, *options)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert (printed["name"], printed["url"], printed["tokens"]) == ("other", server.url, "usage")
    assert "\\boxed" not in server.asked[-1]
    assert list(run.read_json("eval", "load.json")["arms"]) == ["student (server)", "other"]
    assert KEY not in (Path(run.uri) / "eval" / "load.json").read_text() + done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "say either --arm NAME"),
        (["--arm", "single", "--url", "x"], "say either --arm NAME"),
        (["--arm", "nobody"], "--arm 'nobody': no such arm"),
        (["--arm", "single", "--plain"], "are for --url"),
        (["--arm", "single", "--rates", "1,fast"], "'fast' is no number of requests"),
        (["--arm", "single", "--rates", "0"], "'0' is no number of requests"),
        (["--url", "http://127.0.0.1:1/v1"], "http://127.0.0.1:1/v1/models: "),
        (["--url", "URL"], "HTTP 401"),
        (["--url", "URL", "--api-key-env", "NO_SUCH_KEY"], "NO_SUCH_KEY: there is no key"),
        (["--url", "URL", "--api-key-file", "/nowhere"], "--api-key-file /nowhere: "),
        (["--arm", "single", "debate.agents=4"], "debate.agents: 5 -> 4"),
    ],
)
def test_what_is_refused(server: Server, run: RunFolder, args: list[str], said: str) -> None:
    before = len(server.asked)
    asked = ["load", run.uri, *[server.url if arg == "URL" else arg for arg in args]]
    done = CliRunner().invoke(app, asked)  # a process for each would take a minute
    assert done.exit_code == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert len(server.asked) == before


def test_a_stop_is_clean(server: Server, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOAD_KEY", KEY)
    before = len(server.asked)
    run.write_json({"arms": {}}, "eval", "load.json")
    command = [sys.executable, "-m", "agentark_ray.cli", "load", run.uri, "--url", server.url]
    options = ["--api-key-env", "LOAD_KEY", "--rates", "20", "--seconds", "100"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(server.asked) < before + 5:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Stopped. Nothing was written" in said and "Traceback" not in said
    assert run.read_json("eval", "load.json") == {"arms": {}}
