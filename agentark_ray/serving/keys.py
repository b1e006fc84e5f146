"""API keys: made once, kept as hashes, with what each may ask for.

Keys are 256 random bits, so a plain SHA-256 is enough: there is no dictionary to try.
"""

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from agentark_ray.section import ConfigError, Section
from agentark_ray.serving.config import KeysConfig, is_loopback

PREFIX = "ak-"
MIN_KEY_CHARS = 20


class ApiKey(Section):
    """One key."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """Of its owner; shown in logs and metrics."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    requests_per_minute: Annotated[int, Field(ge=1)]
    tokens_per_minute: Annotated[int, Field(ge=1)]


def new_key() -> str:
    """A key that nobody has."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def find(keys: Sequence[ApiKey], key: str) -> ApiKey | None:
    """The owner of a key; takes as long for every key."""
    digest = hash_of(key)
    found = None
    for one in keys:
        if hmac.compare_digest(one.sha256, digest):
            found = one
    return found


def load_keys(config: KeysConfig) -> list[ApiKey]:
    """All keys of the file and the environment.

    Raises:
        ConfigError: a line is not a key, a key is too short, a name comes twice.
    """
    keys = [*_of_file(config), *_of_environment(config)]
    names = [key.name for key in keys]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"keys: the names {doubled} come more than once")
    return keys


def check_closed(keys: Sequence[ApiKey], config: KeysConfig, host: str) -> None:
    """Refuse to let everybody ask.

    Raises:
        ConfigError: others can reach the host, and there are no keys although they are required.
    """
    if not keys and config.required and not is_loopback(host):
        raise ConfigError(
            f"host={host}: others can reach it and there are no API keys; give keys.file or"
            f" ${config.env}, or keys.required=false if you mean it"
        )


def _of_file(config: KeysConfig) -> list[ApiKey]:
    if config.file is None:
        return []
    path = Path(config.file).expanduser()
    if not path.is_file():
        raise ConfigError(f"keys.file={config.file}: no such file; `agentark serve-key` makes one")
    limits = {
        "requests_per_minute": config.requests_per_minute,
        "tokens_per_minute": config.tokens_per_minute,
    }
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            found.append(ApiKey.model_validate({**limits, **json.loads(line)}))
        except (ValueError, TypeError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "not JSON"
            raise ConfigError(f"{path}, line {number}: not a key: {said}") from None
    return found


def _of_environment(config: KeysConfig) -> list[ApiKey]:
    found = []
    for pair in filter(None, (part.strip() for part in os.environ.get(config.env, "").split(","))):
        name, colon, key = pair.partition(":")
        if not colon or len(key) < MIN_KEY_CHARS:
            raise ConfigError(
                f"{config.env}: expected NAME:KEY pairs with keys of at least {MIN_KEY_CHARS}"
                f" characters, separated by commas; the one of {name[:20]!r} is not"
            )
        values = {
            "name": name,
            "sha256": hash_of(key),
            "requests_per_minute": config.requests_per_minute,
            "tokens_per_minute": config.tokens_per_minute,
        }
        try:
            found.append(ApiKey.model_validate(values))
        except ValidationError as error:
            raise ConfigError(f"{config.env}: {name!r}: {error.errors()[0]['msg']}") from None
    return found


def add_key(path: str, name: str) -> str:
    """Make a key, append its hash to a file that only its owner can read, and return the key.

    Raises:
        ConfigError: the name is taken or cannot be one.
    """
    file = Path(path).expanduser()
    config = KeysConfig(file=str(file))
    if file.exists() and any(one.name == name for one in _of_file(config)):
        raise ConfigError(f"{path}: there is a key of the name {name!r}")
    key = new_key()
    try:
        entry = ApiKey(name=name, sha256=hash_of(key), requests_per_minute=1, tokens_per_minute=1)
    except ValidationError as error:
        raise ConfigError(f"name {name!r}: {error.errors()[0]['msg']}") from None
    file.parent.mkdir(parents=True, exist_ok=True)
    ended = not file.exists() or file.read_bytes()[-1:] in (b"", b"\n")
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as stream:
        stream.write("" if ended else "\n")
        stream.write(json.dumps(entry.model_dump(include={"name", "sha256"})) + "\n")
    return key
