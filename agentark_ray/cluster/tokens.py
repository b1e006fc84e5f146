"""The token that Ray's job API, dashboard and nodes ask for. Found where Ray looks for it."""

import os
import secrets
from pathlib import Path

from agentark_ray.config import ConfigError

TOKEN_BYTES = 32


def token_file() -> Path:
    """Where this user's token is: RAY_AUTH_TOKEN_PATH, or Ray's own place."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def need_token() -> None:
    """Let Ray authenticate in this process and in those it starts.

    Must be called before Ray is imported, which reads the environment once.

    Raises:
        ConfigError: there is no token.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if os.environ["RAY_AUTH_MODE"] == "token" and not _there():
        raise ConfigError(
            f"{token_file()}: no token; put the cluster's there (mode 600), or name its file by"
            " RAY_AUTH_TOKEN_PATH"
        )


def make_token() -> Path | None:
    """Like `need_token`, but makes a token where none is; returns the file if it was made."""
    made = None
    if not _there():
        made = token_file()
        made.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(TOKEN_BYTES))
    os.environ["RAY_AUTH_MODE"] = "token"
    return made


def _there() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    file = token_file()
    return file.is_file() and bool(file.read_text(encoding="utf-8").strip())
