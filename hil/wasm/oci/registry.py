"""Registries as the OCI distribution spec has them: what is behind a tag or a digest, with a bound on each wait."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from hil.wasm.oci.artifact import INDEXES, MANIFEST_LIMIT, MANIFESTS
from hil.wasm.oci.reference import Reference, digest_of

CONNECT, READ = 10.0, 30.0  # seconds: for a connection, between two pieces of an answer
TOTAL = 120.0  # seconds for all of a pull, name look-ups and credential helper included
TOKEN_LIMIT = 1 << 20  # bytes of a token server's answer
IDENTITY = "<token>"  # the user whose secret is an identity token, as `docker login` and its helpers have it
HUB, HUB_API, HUB_KEY = "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"


class Registry:
    """The repository that `reference` names. No answer is believed: who asks compares digests.

    Credentials are those of `docker login` and `oras login` (config.json below $DOCKER_CONFIG or ~/.docker, with its
    helpers), shown to the registry and to the token server it names, over TLS unless `reference.plain`.
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
        """Return digest and size of what `tag` names now. Errors as in `hil.wasm.oci.load`."""
        data = self._get(f"manifests/{tag}", MANIFEST_LIMIT, manifest=True)
        digest = digest_of(data)
        self._resolved[digest] = data
        return digest, len(data)

    def blob(self, digest: str, limit: int, *, manifest: bool) -> bytes:
        """Return at most one byte more than `limit` of what has `digest`; a tag's manifest is not asked for twice."""
        if digest in self._resolved:
            return self._resolved[digest]
        return self._get(f"{'manifests' if manifest else 'blobs'}/{digest}", limit, manifest=manifest)

    def _get(self, path: str, limit: int, *, manifest: bool) -> bytes:
        accept = {"Accept": ", ".join((*MANIFESTS, *INDEXES))} if manifest else {}
        try:
            return _within(self._until, lambda: self._answer(f"{self._url}/{path}", accept, limit))
        except TimeoutError as error:
            raise self._down(f"not all had come after {TOTAL:g} s") from error
        except requests.exceptions.SSLError as error:
            raise self._down(
                f"TLS failed: {_cause(error)}",
                "name the certificate authority in REQUESTS_CA_BUNDLE; for a registry without TLS write oci+http://",
            ) from error
        except requests.exceptions.InvalidSchema as error:
            raise self._down("it sends us on to an address without TLS, which is not followed") from error
        except HilError:
            raise
        except Exception as error:  # also urllib3's and those of names and addresses that are none
            raise self._down(_cause(error)) from error

    def _answer(self, url: str, headers: dict[str, str], limit: int) -> bytes:
        with self._session() as session:
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

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        with _Session() as session:
            session.headers.update({"User-Agent": "hil", "Accept-Encoding": "identity"})
            session.max_redirects = 5
            session.auth = _anonymous
            del session.adapters["http://"]  # neither a redirect nor a token server leaves TLS
            if self.reference.plain:
                session.mount(f"http://{self._host}/", HTTPAdapter())
                session.trust_env = self.reference.scheme == "oci+http"  # no proxy to this machine
            yield session

    # ---- who we are ----

    def _answered(self, session: requests.Session, challenge: str) -> _Authorization:
        """Return what answers a registry's challenge."""
        kind, _, rest = challenge.partition(" ")
        login = _credentials(HUB_KEY if self.reference.store == HUB else self.reference.store)
        if kind.lower() == "basic":
            if login.basic is None:
                there = "only an identity token" if login.identity else "none"
                raise self._unauthorized(f"it wants a user and a password, and there are {there}")
            return login.basic
        if login.bearer is not None:
            return login.bearer
        facts = parse_dict_header(rest)
        realm = facts.get("realm")
        if kind.lower() != "bearer" or not realm:
            raise self._down(f"it wants to know who asks in a way that is not known here: {challenge[:200]!r}")
        query = {"scope": facts.get("scope") or f"repository:{self.reference.repository}:pull"}
        if service := facts.get("service"):
            query["service"] = service
        with self._token(session, realm, query, login) as answer:
            if answer.status_code in (400, 401, 403):
                raise self._unauthorized(f"its token server says {answer.status_code} {answer.reason}")
            if answer.status_code != 200:
                raise self._down(f"its token server says {answer.status_code} {answer.reason}")
            try:
                said = json.loads(_body(answer, TOKEN_LIMIT, self._until))
                token = said.get("token") or said["access_token"]
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
                raise self._down("its token server's answer holds no token") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self._down("its token server's answer holds no token")
        return _Authorization(f"Bearer {token}")

    def _token(self, session: requests.Session, realm: str, query: dict[str, str], login: _Login) -> requests.Response:
        """Ask the token server: with an identity token as OAuth 2 has it, else as the distribution spec has it."""
        limits = (CONNECT, READ)
        if not login.identity:
            return session.get(realm, params=query, auth=login.basic, stream=True, timeout=limits)
        form = {"grant_type": "refresh_token", "refresh_token": login.identity, "client_id": "hil", **query}
        # a redirect could take the token along to another host
        return session.post(realm, data=form, stream=True, timeout=limits, allow_redirects=False)

    # ---- what went wrong ----

    def _refused(self, response: requests.Response) -> NoReturn:
        status = f"{response.status_code} {response.reason}"
        said = _message(_body(response, TOKEN_LIMIT, self._until))
        if response.status_code in (401, 403):
            raise self._unauthorized(f"it says {status}{said}")
        if response.status_code == 404:
            raise ConfigurationError(
                f"{self.reference}: registry {self._host} does not have it{printable_line(said)}",
                hint="check repository and tag; was it pushed? Some registries say so of what needs a login",
            )
        raise self._down(f"it says {status}{said}")

    def _unauthorized(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.reference}: registry {self._host} does not let us read it: {printable_line(why)}",
            hint=f"docker login {self._host}, or oras login {self._host}, with an account that may read it",
        )

    def _down(self, why: str, hint: str | None = None) -> InfrastructureError:
        return InfrastructureError(
            f"{self.reference}: registry {self._host} cannot be asked: {printable_line(why)}",
            hint=hint or "is it up, and reached from here? What was pulled by its digest before needs no registry",
        )


class _Session(requests.Session):
    """A session that never reads ~/.netrc, neither for a request nor for what it is redirected to."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        headers = prepared_request.headers
        before, after = response.request.url or "", prepared_request.url or ""
        if "Authorization" in headers and self.should_strip_auth(before, after):
            del headers["Authorization"]


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No credentials; where a session has none at all, requests looks for some in ~/.netrc."""
    return request


class _Authorization(AuthBase):
    """A header that is not taken along to other hosts."""

    def __init__(self, value: str) -> None:
        self.value = value

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.value
        return request


def _body(response: requests.Response, limit: int, until: float) -> bytes:
    """Return at most one byte more than `limit`; `TimeoutError` if that lasts beyond `until`."""
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise requests.exceptions.ContentDecodingError("it compresses its answer, which was not asked for")
    data = bytearray()
    for piece in response.iter_content(1 << 16):
        data += piece
        if len(data) > limit:
            break
        if time.monotonic() > until:
            raise TimeoutError
    return bytes(data[: limit + 1])


def _message(body: bytes) -> str:
    """What the first error of a registry's answer says, with a colon before it."""
    try:
        first = json.loads(body)["errors"][0]
        return f": {first.get('message') or first['code']}"[:300]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return ""


def _cause(error: BaseException) -> str:
    """The innermost reason; the outer ones are urllib3's."""
    seen = error
    while (inner := getattr(seen, "reason", None) or seen.__cause__ or seen.__context__) and inner is not seen:
        if not isinstance(inner, BaseException):
            break
        seen = inner
    return f"{getattr(seen, 'strerror', None) or seen}"[:300]


def _within(until: float, work: Callable[[], bytes]) -> bytes:
    """Return what `work` returns; `TimeoutError` where it is not done by `until`, on the monotonic clock.

    In a thread, for a name server and a server that sends a header byte by byte know no limit; one that is
    late is left to itself and keeps nobody from ending.
    """
    result: list[bytes] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run, name="registry", daemon=True)
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if failure:
        raise failure[0]
    if not result:
        raise TimeoutError
    return result[0]


@dataclass(frozen=True)
class _Login:
    """What there is to log in with: user and password, an identity token to get others for, or a token as it is."""

    basic: _Authorization | None = None
    identity: str = ""
    bearer: _Authorization | None = None

    @classmethod
    def of(cls, user: str, secret: str) -> _Login:
        if user == IDENTITY:
            return cls(identity=secret)
        return cls(_Authorization(f"Basic {base64.b64encode(f'{user}:{secret}'.encode()).decode()}"))


def _credentials(key: str) -> _Login:
    """Return what the config of docker and oras has for the registry `key`."""
    directory = os.environ.get("DOCKER_CONFIG")
    try:
        path = (Path(directory) if directory else home() / ".docker") / "config.json"
    except ConfigurationError:  # a user without a home has no credentials there
        return _Login()
    try:
        config: dict[str, Any] = json.loads(path.read_bytes())
        helper = config.get("credHelpers", {}).get(key) or config.get("credsStore")
        if helper and (said := _helped(helper, key)) is not None:
            return said
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
            f"cannot read the credentials in {path}: {error}", hint="mend it, or log in again"
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a token that is no text")
    return value


def _helped(helper: str, key: str) -> _Login | None:
    """Ask a credential helper; None where it knows nothing of `key`."""
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run([command, "get"], input=key.encode(), capture_output=True, timeout=READ, check=False)
        if done.returncode != 0:
            return None
        said = json.loads(done.stdout)
        return _Login.of(said["Username"], said["Secret"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"credential helper {command} failed: {error}", hint=f"try: {command} list") from error
