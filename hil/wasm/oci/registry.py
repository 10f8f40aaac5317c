"""Registries of the OCI distribution spec: the blobs of a tag or a digest, with a limit on each wait."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.utils import parse_dict_header

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host.directories import home
from hil.text import printable_line
from hil.wasm.oci.manifests import INDEXES, MANIFEST_LIMIT, MANIFESTS
from hil.wasm.oci.reference import Reference, digest_of

CONNECT, READ = 10.0, 30.0  # seconds: for a connection, between two parts of a response
TOTAL = 120.0  # seconds for a whole pull, with name look-ups and credential helper
TOKEN_LIMIT = 1 << 20  # bytes of a token server's response
IDENTITY = "<token>"  # user name of an identity token, as in `docker login` and its helpers
HUB, HUB_API, HUB_KEY = "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"


class Registry:
    """The repository of `reference`. Responses are not trusted: the caller compares digests.

    Uses the credentials of `docker login` and `oras login` (config.json below $DOCKER_CONFIG or ~/.docker, with its
    helpers) for the registry and the token server it names, over TLS unless `reference.plain`.
    """

    blame: type[HilError] = InfrastructureError

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._host = HUB_API if reference.store == HUB else reference.store
        self._url = f"{'http' if reference.plain else 'https'}://{self._host}/v2/{reference.repository}"
        self._authorization: _Authorization | None = None
        self._resolved: dict[str, bytes] = {}
        self._until = time.monotonic() + TOTAL

    def resolve(self, tag: str | None) -> tuple[str, int]:
        """Return digest and size of the current target of `tag`. Raises as `hil.wasm.oci.load`."""
        data = self._get(f"manifests/{tag}", MANIFEST_LIMIT, manifest=True)
        digest = digest_of(data)
        self._resolved[digest] = data
        return digest, len(data)

    def blob(self, digest: str, limit: int, *, manifest: bool) -> bytes:
        """Return at most one byte more than `limit` of the blob with `digest`; a tag's manifest is requested once."""
        if digest in self._resolved:
            return self._resolved[digest]
        return self._get(f"{'manifests' if manifest else 'blobs'}/{digest}", limit, manifest=manifest)

    def _get(self, path: str, limit: int, *, manifest: bool) -> bytes:
        accept = {"Accept": ", ".join((*MANIFESTS, *INDEXES))} if manifest else {}
        try:
            return _within(self._until, lambda: self._answer(f"{self._url}/{path}", accept, limit))
        except TimeoutError as error:
            raise self._down(f"the response was not complete after {TOTAL:g} s") from error
        except requests.exceptions.SSLError as error:
            raise self._down(
                f"TLS failed: {_cause(error)}",
                "Set REQUESTS_CA_BUNDLE to the certificate authority, or write oci+http:// for a registry without TLS.",
            ) from error
        except requests.exceptions.InvalidSchema as error:
            raise self._down("it redirects to an address without TLS, which is not followed") from error
        except HilError:
            raise
        except Exception as error:  # also of urllib3, and for invalid names and addresses
            raise self._down(_cause(error)) from error

    def _answer(self, url: str, headers: dict[str, str], limit: int) -> bytes:
        with _Session() as session:
            session.headers.update({"User-Agent": "hil", "Accept-Encoding": "identity"})
            session.max_redirects = 5
            session.auth = _anonymous
            del session.adapters["http://"]  # redirects and token servers must use TLS
            if self.reference.plain:
                session.mount(f"http://{self._host}/", HTTPAdapter())
                session.trust_env = self.reference.scheme == "oci+http"  # no proxy to this machine
            response = self._ask(session, url, headers)
            if response.status_code == 401 and (challenge := response.headers.get("WWW-Authenticate")):
                response.close()
                self._authorization = self._answered(session, challenge)
                response = self._ask(session, url, headers)
            with response:
                if response.status_code != 200:
                    self._refused(response)
                return _body(response, limit, self._until)

    def _ask(self, session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
        return session.get(url, headers=headers, auth=self._authorization, stream=True, timeout=(CONNECT, READ))

    # ---- authorization ----

    def _answered(self, session: requests.Session, challenge: str) -> _Authorization:
        """Return the authorization for a registry's challenge."""
        kind, _, rest = challenge.partition(" ")
        login = _credentials(HUB_KEY if self.reference.store == HUB else self.reference.store)
        if kind.lower() == "basic":
            if login.basic is None:
                available = "only an identity token" if login.identity else "none"
                raise self._unauthorized(f"it requires a user and a password; available: {available}")
            return login.basic
        if login.bearer is not None:
            return login.bearer
        facts = parse_dict_header(rest)
        realm = facts.get("realm")
        if kind.lower() != "bearer" or not realm:
            raise self._down(f"it requires an unknown kind of authorization: {challenge[:200]!r}")
        query = {"scope": facts.get("scope") or f"repository:{self.reference.repository}:pull"}
        if service := facts.get("service"):
            query["service"] = service
        with self._token(session, realm, query, login) as answer:
            if answer.status_code in (400, 401, 403):
                raise self._unauthorized(f"its token server responded {answer.status_code} {answer.reason}")
            if answer.status_code != 200:
                raise self._down(f"its token server responded {answer.status_code} {answer.reason}")
            try:
                content = json.loads(_body(answer, TOKEN_LIMIT, self._until))
                token = content.get("token") or content["access_token"]
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
                raise self._down("the response of its token server holds no token") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._down("the response of its token server holds no token")
        return _Authorization(f"Bearer {token}")

    def _token(self, session: requests.Session, realm: str, query: dict[str, str], login: _Login) -> requests.Response:
        """Request a token: for an identity token as in OAuth 2, else as in the distribution spec."""
        limits = (CONNECT, READ)
        if not login.identity:
            return session.get(realm, params=query, auth=login.basic, stream=True, timeout=limits)
        form = {"grant_type": "refresh_token", "refresh_token": login.identity, "client_id": "hil", **query}
        # a redirect could pass the token to another host
        return session.post(realm, data=form, stream=True, timeout=limits, allow_redirects=False)

    # ---- errors ----

    def _refused(self, response: requests.Response) -> NoReturn:
        status = f"{response.status_code} {response.reason}"
        message = _message(_body(response, TOKEN_LIMIT, self._until))
        if response.status_code in (401, 403):
            raise self._unauthorized(f"it responded {status}{message}")
        if response.status_code == 404:
            raise ConfigurationError(
                f"{self.reference}: it is not in the registry {self._host}{printable_line(message)}",
                hint="Check repository and tag, or log in: some registries hide artifacts without a login.",
            )
        raise self._down(f"it responded {status}{message}")

    def _unauthorized(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.reference}: the registry {self._host} denied access: {printable_line(why)}",
            hint=f"Log in with an account that may read it: docker login {self._host}, or oras login {self._host}.",
        )

    def _down(self, why: str, hint: str | None = None) -> InfrastructureError:
        return InfrastructureError(
            f"{self.reference}: the registry {self._host} failed: {printable_line(why)}",
            hint=hint or "Check that it is up and reachable. Modules pulled by digest before need no registry.",
        )


class _Session(requests.Session):
    """A session that never reads ~/.netrc, neither for a request nor for a redirect."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        headers = prepared_request.headers
        before, after = response.request.url or "", prepared_request.url or ""
        if "Authorization" in headers and self.should_strip_auth(before, after):
            del headers["Authorization"]


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add no credentials; without this requests reads ~/.netrc."""
    return request


class _Authorization(AuthBase):
    """An authorization header that redirects do not pass to other hosts."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.value
        return request


def _body(response: requests.Response, limit: int, until: float) -> bytes:
    """Return at most one byte more than `limit`. Raises `TimeoutError` after `until`."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise requests.exceptions.ContentDecodingError("it compresses its response, which was not requested")
    data = bytearray()
    for piece in response.iter_content(1 << 16):
        data += piece
        if len(data) > limit:
            break
        if time.monotonic() > until:
            raise TimeoutError
    return bytes(data[: limit + 1])


def _message(body: bytes) -> str:
    """Return the first error message in a registry's response, with a colon before it."""
    try:
        first = json.loads(body)["errors"][0]
        return f": {first.get('message') or first['code']}"[:300]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _cause(error: BaseException) -> str:
    """Return the innermost reason; the outer ones are of urllib3."""
    seen = error
    while (inner := getattr(seen, "reason", None) or seen.__cause__ or seen.__context__) and inner is not seen:
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return f"{getattr(seen, 'strerror', None) or seen}"[:300]


def _within(until: float, work: Callable[[], bytes]) -> bytes:
    """Return the result of `work`. Raises `TimeoutError` after `until`, on the monotonic clock.

    Runs `work` in a daemon thread: name look-ups and slow headers have no time limit of their own.
    """
    result: Future[bytes] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=run, name="registry", daemon=True).start()
    return result.result(max(0.0, until - time.monotonic()))


@dataclass(frozen=True)
class _Login:
    """The available credentials: user and password, an identity token to exchange, or a token to use as it is."""

    basic: _Authorization | None = None
    identity: str = ""
    bearer: _Authorization | None = None

    @classmethod
    def of(cls, user: str, secret: str) -> _Login:
        if user == IDENTITY:
            return cls(identity=secret)
        return cls(_Authorization(f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"))


def _credentials(key: str) -> _Login:
    """Return the credentials of docker and oras for the registry `key`."""
    directory = os.environ.get("DOCKER_CONFIG")
    try:
        path = (Path(directory) if directory else home() / ".docker") / "config.json"
    except ConfigurationError:  # a user without a home has no credentials there
        return _Login()
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        helper = config.get("credHelpers", {}).get(key) or config.get("credsStore")
        if helper and (helped := _helped(helper, key)) is not None:
            return helped
        kept = config.get("auths", {}).get(key, {})
        if token := kept.get("registrytoken"):
            return _Login(bearer=_Authorization(f"Bearer {_text(token)}"))
        if token := kept.get("identitytoken"):
            return _Login(identity=_text(token))
        if not kept.get("auth"):
            return _Login()
        user, _, secret = base64.b64decode(kept["auth"], validate=True).decode().partition(":")
        return _Login.of(user, secret.rstrip("\0"))
    except FileNotFoundError:
        return _Login()
    except (OSError, RuntimeError, ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise ConfigurationError(
            f"cannot read the credentials in {path}: {error}", hint="Correct the file, or log in again."
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a token that is not text")
    return value


def _helped(helper: str, key: str) -> _Login | None:
    """Call a credential helper; return None if it has no credentials for `key`."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run([command, "get"], input=key.encode(), capture_output=True, timeout=READ, check=False)
        if done.returncode != 0:
            return None
        found = json.loads(done.stdout)
        return _Login.of(found["Username"], found["Secret"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"credential helper {command} failed: {error}", hint=f"Try: {command} list") from error
