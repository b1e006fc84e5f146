"""A served application of scripted engines: a run folder that looks evaluated, and a client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import psutil

from agentark_ray.config import parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.serving.config import ServeConfig, parse_serve_config
from agentark_ray.serving.keys import add_key
from agentark_ray.serving.run import deploy, deploy_schema, tune_ray, wait_until_up
from agentark_ray.session import ray_session

QUESTION = "Tom has 3 apples and buys 4. How many has he?"
ROLLOUT = {"weights": {"student": 1.0}, "shadow": {"arm": "debate", "share": 1.0}}
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]


def scripted_run(folder: Path, *overrides: str) -> RunFolder:
    """A run folder whose engines are scripted, with a student that counts as trained."""
    values = ["engine.type=scripted", "engine.scripted_latency_s=0.05", "debate.agents=3"]
    return trained_run(folder, *values, *overrides)


def trained_run(folder: Path, *overrides: str) -> RunFolder:
    """A run folder with the record of a student that counts as trained."""
    config = parse_config({}, [f"output={folder}", *overrides], "test")
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


@contextmanager
def application(
    folder: Path, port: int, *overrides: str, **values: Any
) -> Iterator[dict[str, Any]]:
    """An application with two replicas of each engine and team, a shadow, and two users.

    One user is poor: two requests a minute. `overrides` are of the run's config.
    """
    from ray import serve

    run = scripted_run(folder / "run", *overrides)
    keys = folder / "keys.jsonl"
    found = {"key": add_key(str(keys), "alice"), "poor": add_key(str(keys), "poor"), "run": run}
    lines = [json.loads(line) for line in keys.read_text().splitlines()]
    lines[1] |= {"requests_per_minute": 2}
    keys.write_text("\n".join(map(json.dumps, lines)))
    pool = {"min_replicas": 2, "max_replicas": 2}
    settings = settings_for(
        run,
        port,
        pools={"base": pool, "student": pool, "debate": pool, **values.pop("pools", {})},
        keys={"file": str(keys), "requests_per_minute": 1_000_000},
        limits={"body_bytes": 20_000, "messages": 3, "max_tokens": 600},
        rollout=values.pop("rollout", ROLLOUT),
        **values,
    )
    tune_ray()
    with ray_session(cpus=16):
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        start(settings)
        yield {**found, "settings": settings, "client": client(port, found["key"])}
        serve.shutdown()


def client(port: int, key: str = "none", **values: Any) -> openai.OpenAI:
    """The official client, which does not ask again by itself."""
    url = f"http://127.0.0.1:{port}/v1"
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, **values)


def replica_pids(name: str) -> list[int]:
    """Processes of a deployment's replicas."""
    return pids(f"ServeReplica:agentark:{name}")


def pids(words: str) -> list[int]:
    """Processes whose command line contains some words."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if words in " ".join(process.info["cmdline"] or ())
    ]
