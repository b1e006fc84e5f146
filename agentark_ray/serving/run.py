"""`agentark serve`: deploy the application, wait for it, and stay until it is stopped."""

import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.console import Console

from agentark_ray.run_folder import RunFolder
from agentark_ray.section import ConfigError
from agentark_ray.serving.config import AUTO, ServeConfig, user_config
from agentark_ray.serving.keys import check_closed, load_keys
from agentark_ray.serving.parts import bundles, read_parts
from agentark_ray.session import need_resources, ray_session, stderr_held_back

if TYPE_CHECKING:
    from ray.serve.config import HTTPOptions

START_S = 900.0  # until engines are up
POLL_S = 1.0  # while it starts
LOOK_S = 5.0  # that it is still there
CPUS = 12  # logical, of a local instance: every replica takes one
CONNECT_S = 2.0
PROXY_S = 5.0  # that the proxy waits longer than a request may take


def run(settings: ServeConfig, console: Console) -> None:
    """Deploy. On a local Ray stay until Ctrl-C; on a cluster return when it is up.

    Raises:
        ConfigError: what the user has to mend; nothing has been started.
    """
    schema = deploy_schema(settings)
    tune_ray()
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    if not on_cluster:
        check_place(settings, None)
    with ray_session(cpus=CPUS):
        need_resources("pools", bundles(settings, read_parts(settings)))
        from ray import serve

        check_place(settings, listening())
        serve.start(
            proxy_location="EveryNode" if on_cluster else "HeadOnly",
            http_options={
                "host": settings.host,
                "port": settings.port,
                "request_timeout_s": settings.limits.timeout_s + PROXY_S,
            },
        )
        try:
            deploy(schema)
            wait_until_up(settings.name, lambda told: console.print(told, highlight=False))
            console.print(_told(settings), highlight=False)
            if not on_cluster:
                _stay(settings.name, console)
        finally:
            if not on_cluster:
                with stderr_held_back():  # the controller's end is no news
                    serve.shutdown()


def tune_ray() -> None:
    """Let replicas and proxies that this process starts have one event loop each, and no niceness.

    Serve would give the code of an application, and what routes its requests, threads of their own;
    ours never holds a loop up, and a token then passes from thread to thread for nothing. Ray gives
    its workers niceness 15, so that whatever else runs here would come before users' answers.
    """
    for what in ("SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", "SERVE_RUN_ROUTER_IN_SEPARATE_LOOP"):
        os.environ.setdefault(f"RAY_{what}", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")


def deploy_schema(settings: ServeConfig) -> dict[str, Any]:
    """Serve's own description of the application, as for `serve deploy`.

    The rollout is the ingress's `user_config` and no argument, so another rollout restarts nothing.

    Raises:
        ConfigError: the run lacks what is to be served, or the server would be open to everybody.
    """
    keys = load_keys(settings.keys)
    check_closed(keys, settings.keys, settings.host)
    read_parts(settings)
    args = settings.model_dump(mode="json", exclude={"rollout"})
    args |= {"run": RunFolder(settings.run).uri, "api_keys": [key.model_dump() for key in keys]}
    return {
        "applications": [
            {
                "name": settings.name,
                "route_prefix": "/",
                "import_path": "agentark_ray.serving.app:build",
                "args": args,
                "deployments": [{"name": "ingress", "user_config": user_config(settings)}],
            }
        ]
    }


def listening() -> "HTTPOptions | None":
    """Where and how the Serve of this Ray listens; None if none runs, or it speaks no HTTP."""
    from ray.serve.context import _get_global_client

    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None or client.http_config.host is None:
        return None
    return client.http_config


def check_place(settings: ServeConfig, place: "HTTPOptions | None") -> None:
    """Refuse a place that is taken, and what a Serve that runs already does not do: it keeps its
    place and its deadline.

    Raises:
        ConfigError: it says which.
    """
    if place is None:
        check_port(settings)
        return
    if (place.host, place.port) != (settings.host, settings.port):
        raise ConfigError(
            f"host={settings.host}, port={settings.port}: Serve runs already and listens at"
            f" host={place.host}, port={place.port}; give these, or end it with `serve shutdown`"
        )
    most, wanted = place.request_timeout_s, settings.limits.timeout_s + PROXY_S
    if most and most < wanted:
        raise ConfigError(
            f"limits.timeout_s={settings.limits.timeout_s:g}: Serve runs already and its proxy ends"
            f" requests after request_timeout_s={most:g}, expected {wanted:g} or more; give a"
            f" shorter one, or end it with `serve shutdown`"
        )


def check_port(settings: ServeConfig) -> None:
    """Refuse a port at which somebody listens: Serve's proxy would share it, and its requests.

    Raises:
        ConfigError: it is taken.
    """
    try:
        socket.create_connection((settings.host, settings.port), timeout=CONNECT_S).close()
    except OSError:
        return
    raise ConfigError(
        f"host={settings.host}, port={settings.port}: somebody listens there already; give another"
        " port, or, to change an application that runs, RAY_ADDRESS (auto on this machine)"
    )


def deploy(schema: dict[str, Any]) -> None:
    """Hand it to the controller, which builds in a task and updates only what changed.

    `serve.run` would restart every replica each time.
    """
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    client = _get_global_client()
    assert client is not None, "serve.start has made it"
    whole = with_others(schema, client.get_serve_details())
    client.deploy_apps(ServeDeploySchema.model_validate(whole))


def with_others(schema: dict[str, Any], details: dict[str, Any]) -> dict[str, Any]:
    """The schema, with all others that run by one: Serve ends what it does not find there.

    Args:
        schema: as of `deploy_schema`.
        details: what Serve says of itself.
    """
    own = {app["name"] for app in schema["applications"]}
    others = [
        app["deployed_app_config"]
        for name, app in details["applications"].items()
        if name not in own and app["status"] != "DELETING" and app.get("deployed_app_config")
    ]
    return {**schema, "applications": [*others, *schema["applications"]]}


def wait_until_up(name: str, tell: Callable[[str], None]) -> None:
    """Until the application runs; tells which deployments are still starting."""
    from ray import serve

    started, told = time.monotonic(), ""
    while True:
        found = serve.status().applications.get(name)
        status = found.status.value if found else "NOT_STARTED"
        if found and status == "RUNNING":
            return
        if found and status in ("DEPLOY_FAILED", "DELETING"):
            raise RuntimeError(f"application {name}: {status}: {found.message}")
        waiting = [
            deployment
            for deployment, state in (found.deployments.items() if found else ())
            if state.status.value != "HEALTHY"
        ]
        now = f"starting: {', '.join(waiting) or 'the application is built'}"
        if now != told:
            tell(f"  {now} ({time.monotonic() - started:.0f} s)")
            told = now
        if time.monotonic() - started > START_S:
            raise RuntimeError(f"application {name}: not up after {START_S:.0f} s: {now}")
        time.sleep(POLL_S)


def _stay(name: str, console: Console) -> None:
    from ray import serve

    console.print("Ctrl-C stops it.", highlight=False)
    try:
        while name in serve.status().applications:
            time.sleep(LOOK_S)
    except KeyboardInterrupt:
        console.print("stopping: answers that are not complete end here", highlight=False)


def _told(settings: ServeConfig) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"http://{host}:{settings.port}"
    models = ", ".join((AUTO, *settings.models))
    return f"serving {models} at {url}/v1; compare them at {url}/compare"
