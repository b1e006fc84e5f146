"""The application: engines, teams, recorder and ingress, put together from a run folder."""

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.serve.deployment import Application

from agentark_ray.serving.config import AUTO, ServeConfig, parse_serve_config, user_config
from agentark_ray.serving.engines import deployment, engine_deployment, serve_options
from agentark_ray.serving.ingress import ingress_class
from agentark_ray.serving.keys import ApiKey, check_closed, load_keys
from agentark_ray.serving.parts import Parts, read_parts
from agentark_ray.serving.records import Recorder
from agentark_ray.serving.run import listening
from agentark_ray.serving.team import DebateServer, HybridServer, served_protocol

RETRY_S = 1  # where too many wait for the ingress


def build(args: Mapping[str, Any]) -> Application:
    """A Ray Serve application, for `serve run`, `serve deploy` and `agentark serve`.

    Args:
        args: the keys of ServeConfig; `api_keys`, if given, are those of `keys` already read.

    Raises:
        ConfigError: what the user has to mend.
    """
    values = dict(args)
    keys = values.pop("api_keys", None)
    settings = parse_serve_config(values, "args")
    found = load_keys(settings.keys) if keys is None else [ApiKey.model_validate(k) for k in keys]
    place = listening() if ray.is_initialized() else None
    for host in {settings.host, (place.host if place else None) or settings.host}:
        check_closed(found, settings.keys, host)
    return application(settings, read_parts(settings), found)


def application(settings: ServeConfig, parts: Parts, keys: Sequence[ApiKey]) -> Application:
    """The deployments that the settings ask for. Ray must be up."""
    pools, limits, config = settings.pools, settings.limits, parts.config
    student = parts.student_ref
    engines: dict[str, Any] = {}
    if "student" in settings.engines:
        engines["student"] = engine_deployment(config, student, "student", pools.student, limits)
    base: dict[str, tuple[Any, str]] = {}
    for ref, name in parts.base.items():
        base[ref.name] = engine_deployment(config, ref, name, pools.base, limits), name
    if base:
        engines["base"] = base[config.model][0]
    teams: dict[str, Any] = {}
    if {"debate", "hybrid"} & set(settings.models):
        made = deployment(DebateServer, "debate", **serve_options(pools.debate, limits))
        teams["debate"] = made.bind(config, base, limits)
    if "hybrid" in settings.models:
        made = deployment(HybridServer, "hybrid", **serve_options(pools.hybrid, limits))
        teams["hybrid"] = made.bind(
            config,
            student.name,
            {student.name: (engines["student"], "student")},
            teams["debate"],
            parts.threshold,
            limits,
            pools,
        )
    recorder = deployment(Recorder, "recorder", num_replicas=1).bind(
        settings.records or parts.folder.path("served")
    )
    return deployment(
        ingress_class(settings, keys),
        "ingress",
        user_config=user_config(settings),
        backpressure_config={"status_code": 429, "retry_after_s": RETRY_S},
        **serve_options(pools.ingress, limits),
    ).bind(
        engines={arm: handle for arm, handle in engines.items() if arm in settings.models},
        teams={arm: handle for arm, handle in teams.items() if arm in settings.models},
        models=(AUTO, *settings.models),
        recorder=recorder,
        settings=settings,
        task=config.tasks.name,
        student=parts.student,
        own=served_protocol(config, "single", limits.max_tokens).speakers[0].sampling,
        prices=config.prices.tokens,
    )
