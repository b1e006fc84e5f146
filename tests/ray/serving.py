"""A served application of scripted engines: a run folder that looks evaluated, and a client."""

from pathlib import Path
from typing import Any

import openai
import psutil

from agentark_ray.config import parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.serving.config import ServeConfig, parse_serve_config
from agentark_ray.serving.run import deploy, deploy_schema, wait_until_up

QUESTION = "Tom has 3 apples and buys 4. How many has he?"
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def scripted_run(folder: Path, *overrides: str) -> RunFolder:
    """A run folder whose engines are scripted, with a student that counts as trained."""
    values = ["engine.type=scripted", "engine.scripted_latency_s=0.05", "debate.agents=3"]
    config = parse_config({}, [f"output={folder}", *values, *overrides], "test")
    run = RunFolder(config.output)
    run.open(config, "m")
    record = {
        "name": "rsft",
        "strategy": "rsft",
        "parent": None,
        "created": "2026-01-01T00:00:00Z",
        "config": {key: config.snapshot()[key] for key in ("distill", "train")},
        "stages": {"train": {"steps": 1}},
    }
    run.write_json(record, "students", "rsft.json")
    return run


def settings_for(run: RunFolder, port: int, **values: Any) -> ServeConfig:
    """Settings of an application on a port of this machine."""
    hybrid = {"threshold": -0.5}
    return parse_serve_config({"run": run.uri, "port": port, "hybrid": hybrid, **values}, "test")


def start(settings: ServeConfig) -> None:
    """Deploy and wait. Ray and Serve must be up."""
    deploy(deploy_schema(settings))
    wait_until_up(settings.name, lambda told: None)


def client(port: int, key: str = "none", **values: Any) -> openai.OpenAI:
    """The official client, which does not ask again by itself."""
    url = f"http://127.0.0.1:{port}/v1"
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, **values)


def replica_pids(name: str) -> list[int]:
    """Processes of a deployment's replicas."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if f"ServeReplica:agentark:{name}" in " ".join(process.info["cmdline"] or ())
    ]
