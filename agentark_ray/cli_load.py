"""`agentark load`: an open-loop load test."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentark_ray.cli_base import (
    JsonFlag,
    Overrides,
    RunFolderArgument,
    clear_errors,
    print_json,
    stdout,
)
from agentark_ray.config import Config, ConfigError

if TYPE_CHECKING:
    from agentark_ray.load.offer import Plan
    from agentark_ray.run_folder import RunFolder

ArmOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="single, self_consistency, debate, or a student."),
]
UrlOption = Annotated[
    str | None, typer.Option(help="Of a server, up to where /chat/completions begins.")
]
ModelOption = Annotated[
    str | None, typer.Option(help="That the server has; by default its only one.")
]
NameOption = Annotated[
    str | None, typer.Option(help="In load.json; by default the arm's, or MODEL (server).")
]
KeyVariableOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Environment variable with the key.")
]
KeyFileOption = Annotated[str | None, typer.Option(metavar="PATH", help="File with the key.")]

LOAD_HELP = """Ask held-out questions at given rates, and measure latency under that load.

Requests come by a Poisson process and do not wait for earlier ones (open loop); latency counts
from the moment at which a request was due, so a queue is seen wherever it forms. Without --rates
the rate is doubled until requests come faster than they are answered. What is asked: the engine of
the run folder as one of its arms (--arm), or an OpenAI-compatible server (--url), by streams. The
result goes to RUN/eval/load.json.

Examples:

  agentark load runs/demo --arm student

  agentark load runs/demo --arm debate --rates 1,2,4 --seconds 60 --target-ms 1000

  agentark load runs/demo --url http://host:8000/v1 --model hybrid --api-key-env AGENTARK_KEY

  agentark load runs/gsm8k --arm single gpus_per_engine=1 --target-ms 200 --target-ttft-ms 50 --json
"""


def load(
    run: RunFolderArgument,
    overrides: Overrides = None,
    arm: ArmOption = None,
    url: UrlOption = None,
    model: ModelOption = None,
    name: NameOption = None,
    api_key_env: KeyVariableOption = None,
    api_key_file: KeyFileOption = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Send questions without the form of an answer.")
    ] = False,
    rates: Annotated[
        str | None, typer.Option(metavar="R,R,...", help="Requests a second; default: by doubling.")
    ] = None,
    start_rate: Annotated[
        float, typer.Option(min=1e-3, metavar="R", help="The first one of the doubling.")
    ] = 1.0,
    seconds: Annotated[
        float, typer.Option(min=1, metavar="S", help="Of arrivals, at each rate.")
    ] = 30.0,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="Then a request is given up.")
    ] = 60.0,
    max_outstanding: Annotated[
        int, typer.Option(min=1, help="Requests under way at once; more are held back.")
    ] = 1000,
    target_ms: Annotated[
        float | None, typer.Option(min=1e-6, metavar="MS", help="Goodput: end to end within.")
    ] = None,
    target_ttft_ms: Annotated[
        float | None, typer.Option(min=1e-6, metavar="MS", help="Goodput: first token within.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the times of arrival.")] = 17,
    as_json: JsonFlag = False,
) -> None:
    """Measure an arm or a server under load."""
    with clear_errors("Nothing was written; start it again."):
        check_choice(arm, url, bool(model or api_key_env or api_key_file or plain))
        offered, key = parse_rates(rates), read_key(api_key_env, api_key_file)
        from agentark_ray.load import run as loads
        from agentark_ray.load.figures import Targets
        from agentark_ray.load.offer import Plan
        from agentark_ray.run_folder import RunFolder
        from agentark_ray.students import config_with

        plan = Plan(
            rates=offered,
            start_rate=start_rate,
            seconds=seconds,
            seed=seed,
            timeout_s=timeout,
            max_outstanding=max_outstanding,
            targets=Targets(ms=target_ms, ttft_ms=target_ttft_ms),
        )
        folder = RunFolder(run)
        config = config_with(folder, overrides or [])
        with folder.locked():
            if url is None:
                assert arm is not None
                found, entry = _load_arm(folder, config, plan, arm)
            else:
                found, entry = _load_server(folder, config, plan, url, model, key, plain)
            loads.save(folder, name or found, entry)
        _show(name or found, entry, as_json)


def check_choice(arm: str | None, url: str | None, server_options: bool) -> None:
    """Either an arm or a server is asked, and options of a server go with a server.

    Raises:
        ConfigError: they do not.
    """
    if (arm is None) == (url is None):
        raise ConfigError("say either --arm NAME (of the run folder) or --url URL (of a server)")
    if url is None and server_options:
        raise ConfigError("--model, --api-key-env, --api-key-file and --plain are for --url")


def _load_arm(
    folder: "RunFolder", config: Config, plan: "Plan", name: str
) -> tuple[str, dict[str, Any]]:
    """Name and entry of an arm in load.json."""
    from rich.console import Console

    from agentark_ray.load.run import find_arm, load_engine

    arm = find_arm(folder, config, name)
    return arm.name, load_engine(folder, config, arm, plan, Console(stderr=True))


def _load_server(
    folder: "RunFolder",
    config: Config,
    plan: "Plan",
    url: str,
    model: str | None,
    key: str | None,
    plain: bool,
) -> tuple[str, dict[str, Any]]:
    """Name and entry of a server in load.json."""
    from rich.console import Console

    from agentark_ray.debate.protocol import arm_protocol
    from agentark_ray.load.http import Endpoint
    from agentark_ray.load.run import find_model, load_url

    served = find_model(url, key, model)
    sampling = arm_protocol(config, "single").speakers[0].sampling
    endpoint = Endpoint(url, served, key, sampling)
    entry = load_url(folder, config, endpoint, plan, Console(stderr=True), plain)
    return f"{served} (server)", entry


def _show(name: str, entry: dict[str, Any], as_json: bool) -> None:
    from agentark_ray.load.table import render_load

    if as_json:
        print_json({"name": name, **entry})
    else:
        stdout().print(render_load(name, entry))


def parse_rates(text: str | None) -> tuple[float, ...]:
    """The rates of `R,R,...`; none for None.

    Raises:
        ConfigError: one is no positive number.
    """
    found = []
    for part in (text or "").split(",") if text is not None else ():
        try:
            rate = float(part)
        except ValueError:
            rate = 0.0
        if not 0 < rate < 1e6:
            raise ConfigError(f"--rates {text!r}: {part!r} is no number of requests a second")
        found.append(rate)
    return tuple(found)


def read_key(env: str | None, file: str | None) -> str | None:
    """The API key from an environment variable or a file; it is in no message.

    Raises:
        ConfigError: there is none, or it cannot be sent.
    """
    if env and file:
        raise ConfigError("say either --api-key-env or --api-key-file")
    if file:
        try:
            key, where = Path(file).read_text(encoding="utf-8").strip(), f"--api-key-file {file}"
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--api-key-file {file}: {error}") from None
    elif env:
        key, where = os.environ.get(env, "").strip(), f"--api-key-env {env}"
    else:
        return None
    if not key:
        raise ConfigError(f"{where}: there is no key")
    if not key.isascii() or not key.isprintable():
        raise ConfigError(f"{where}: a key has visible ASCII characters only")
    return key
