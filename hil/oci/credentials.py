"""Credentials for registries: those of `docker login` and `oras login`, and their credential helpers."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests.auth import AuthBase

from hil.errors import ConfigurationError
from hil.host.directories import home

HELPER_LIMIT = 30.0  # seconds
IDENTITY = "<token>"  # user name of an identity token, as in `docker login` and its helpers


class Authorization(AuthBase):
    """An authorization header that redirects do not pass to other hosts."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.value
        return request


@dataclass(frozen=True)
class Login:
    """The available credentials: user and password, an identity token to exchange, or a token to use as it is."""

    basic: Authorization | None = None
    identity: str = ""
    bearer: Authorization | None = None

    @classmethod
    def of(cls, user: str, secret: str) -> Login:
        if user == IDENTITY:
            return cls(identity=secret)
        return cls(Authorization(f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"))


def credentials(key: str) -> Login:
    """Return the credentials of docker and oras for the registry `key`."""
    directory = os.environ.get("DOCKER_CONFIG")
    try:
        path = (Path(directory) if directory else home() / ".docker") / "config.json"
    except ConfigurationError:  # a user without a home has no credentials there
        return Login()
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        helper = config.get("credHelpers", {}).get(key) or config.get("credsStore")
        if helper and (helped := _helped(helper, key)) is not None:
            return helped
        kept = config.get("auths", {}).get(key, {})
        if token := kept.get("registrytoken"):
            return Login(bearer=Authorization(f"Bearer {_text(token)}"))
        if token := kept.get("identitytoken"):
            return Login(identity=_text(token))
        if not kept.get("auth"):
            return Login()
        user, _, secret = base64.b64decode(kept["auth"], validate=True).decode().partition(":")
        return Login.of(user, secret.rstrip("\0"))
    except FileNotFoundError:
        return Login()
    except (OSError, RuntimeError, ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise ConfigurationError(
            f"cannot read the credentials in {path}: {error}", hint="Correct the file, or log in again."
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a token that is not text")
    return value


def _helped(helper: str, key: str) -> Login | None:
    """Call a credential helper; return None if it has no credentials for `key`."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"], input=key.encode(), capture_output=True, timeout=HELPER_LIMIT, check=False
        )
        if done.returncode != 0:
            return None
        found = json.loads(done.stdout)
        return Login.of(found["Username"], found["Secret"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"credential helper {command} failed: {error}", hint=f"Try: {command} list") from error
