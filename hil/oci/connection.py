"""Requests to a registry of the OCI distribution spec: authorization, and a limit on each wait."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.utils import parse_dict_header

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.oci.credentials import Authorization, Login, credentials
from hil.oci.reference import Reference
from hil.oci.sending import Sent
from hil.text import printable_line

T = TypeVar("T")

CONNECT, READ = 10.0, 30.0  # seconds: for a connection, between two parts of a response
COMMIT = 120.0  # seconds for the response to an upload, which the registry stores and verifies first
TOTAL = 120.0  # seconds for a whole pull or push, with name look-ups and credential helper
TOKEN_LIMIT = 1 << 20  # bytes of a token server's response
PIECE = 1 << 18  # bytes of a response that are in memory at once
REDIRECTS = 5
HUB, HUB_API, HUB_KEY = "docker.io", "registry-1.docker.io", "https://index.docker.io/v1/"


@dataclass(frozen=True)
class HttpRequest:
    """A request to a registry. `expected` are the statuses of success."""

    method: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Sent | None = None
    expected: tuple[int, ...] = (200,)


class Connection:
    """The registry of `reference`, over TLS unless `reference.plain`. Responses are not trusted.

    Uses the credentials of `docker login` and `oras login` for the registry and the token server it names. `slowest`,
    if given, is a rate in bytes per second: each byte transferred extends `TOTAL` accordingly.
    """

    def __init__(self, reference: Reference, *, write: bool = False, slowest: float | None = None) -> None:
        self.reference = reference
        self.host = HUB_API if reference.store == HUB else reference.store
        self.url = f"{'http' if reference.plain else 'https'}://{self.host}/v2/{reference.repository}"
        self._write, self._slowest = write, slowest
        self._authorization: Authorization | None = None
        self._until = time.monotonic() + TOTAL

    def call(self, request: HttpRequest) -> requests.Response:
        """Return the response, without its body, to a request. Raises as `pieces`."""
        with self._session() as session, self._failures():
            response = self._within(lambda: self._answer(session, request))
            response.close()
            return response

    def pieces(self, request: HttpRequest, limit: int) -> Iterator[bytes]:
        """Yield the body of the response; of one longer than `limit` bytes, one byte more than `limit`.

        Raises `ConfigurationError` for something that is missing or inaccessible, `InfrastructureError` for a
        registry that is down, slow or broken.
        """
        with self._session() as session, self._failures():
            response = self._within(lambda: self._answer(session, request))
            body, left = _body(response), limit + 1
            while left and (piece := self._within(lambda: next(body, b""))[:left]):
                left -= len(piece)
                self.moved(len(piece))
                yield piece
            response.close()

    def moved(self, size: int) -> None:
        """Extend the time limit after the transfer of `size` bytes."""
        if self._slowest is not None:
            self._until += size / self._slowest

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        with _Session() as session:
            session.headers.update({"User-Agent": "hil", "Accept-Encoding": "identity"})
            session.max_redirects = REDIRECTS
            session.auth = _anonymous
            del session.adapters["http://"]  # redirects and token servers must use TLS
            if self.reference.plain:
                session.mount(f"http://{self.host}/", HTTPAdapter())
                session.trust_env = self.reference.scheme == "oci+http"  # no proxy to this machine
            yield session

    def _answer(self, session: requests.Session, request: HttpRequest) -> requests.Response:
        response = self._ask(session, request)
        if response.status_code == 401 and (challenge := response.headers.get("WWW-Authenticate")):
            response.close()
            self._authorization = self._answered(session, challenge)
            response = self._ask(session, request)
        if response.status_code not in request.expected:
            with response:
                self._refused(response)
        return response

    def _ask(self, session: requests.Session, request: HttpRequest) -> requests.Response:
        foreign = session.should_strip_auth(f"{self.url}/", request.url)  # an upload to another host
        if isinstance(request.body, Sent):
            request.body.rewind()
        return session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body,
            auth=None if foreign else self._authorization,
            stream=True,
            allow_redirects=request.body is None,
            timeout=(CONNECT, READ if request.body is None else COMMIT),
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Convert every exception of a request."""
        try:
            yield
        except TimeoutError as error:
            more = f" and 1 s for each {self._slowest:g} bytes" if self._slowest else ""
            raise self.failed(f"the response was not complete after {TOTAL:g} s{more}") from error
        except requests.exceptions.SSLError as error:
            raise self.failed(
                f"TLS failed: {_cause(error)}",
                "Set REQUESTS_CA_BUNDLE to the certificate authority, or write oci+http:// for a registry without TLS.",
            ) from error
        except requests.exceptions.InvalidSchema as error:
            raise self.failed("it redirects to an address without TLS, which is not followed") from error
        except HilError:
            raise
        except Exception as error:  # also of urllib3, and for invalid names and addresses
            raise self.failed(_cause(error)) from error

    def _within(self, work: Callable[[], T]) -> T:
        """Return the result of `work`. Raises `TimeoutError` after the time limit.

        Runs `work` in a daemon thread: name look-ups and slow headers have no time limit of their own.
        """
        result: Future[T] = Future()

        def run() -> None:
            try:
                result.set_result(work())
            except BaseException as error:
                result.set_exception(error)

        threading.Thread(target=run, name="registry", daemon=True).start()
        while True:
            try:
                return result.result(max(0.0, self._until - time.monotonic()))
            except TimeoutError:
                if result.done():
                    return result.result()
                if time.monotonic() >= self._until:  # an upload extends the limit
                    raise

    # ---- authorization ----

    def _answered(self, session: requests.Session, challenge: str) -> Authorization:
        """Return the authorization for a registry's challenge."""
        kind, _, rest = challenge.partition(" ")
        login = credentials(HUB_KEY if self.reference.store == HUB else self.reference.store)
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
            raise self.failed(f"it requires an unknown kind of authorization: {challenge[:200]!r}")
        scope = f"repository:{self.reference.repository}:pull"
        query = {"scope": f"{scope},push" if self._write else facts.get("scope") or scope}
        if service := facts.get("service"):
            query["service"] = service
        with self._token(session, realm, query, login) as answer:
            if answer.status_code in (400, 401, 403):
                raise self._unauthorized(f"its token server responded {answer.status_code} {answer.reason}")
            if answer.status_code != 200:
                raise self.failed(f"its token server responded {answer.status_code} {answer.reason}")
            try:
                content = json.loads(self._short(answer))
                token = content.get("token") or content["access_token"]
            except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
                raise self.failed("the response of its token server holds no token") from error
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise self.failed("the response of its token server holds no token")
        return Authorization(f"Bearer {token}")

    def _token(self, session: requests.Session, realm: str, query: dict[str, str], login: Login) -> requests.Response:
        """Request a token: for an identity token as in OAuth 2, else as in the distribution spec."""
        limits = (CONNECT, READ)
        if not login.identity:
            return session.get(realm, params=query, auth=login.basic, stream=True, timeout=limits)
        form = {"grant_type": "refresh_token", "refresh_token": login.identity, "client_id": "hil", **query}
        # a redirect could pass the token to another host
        return session.post(realm, data=form, stream=True, timeout=limits, allow_redirects=False)

    # ---- errors ----

    def _short(self, response: requests.Response) -> bytes:
        """Return the start of a short body. Runs within the thread of a request."""
        data = bytearray()
        for piece in _body(response):
            data += piece
            if time.monotonic() > self._until:
                raise TimeoutError
            if len(data) > TOKEN_LIMIT:
                break
        return bytes(data[: TOKEN_LIMIT + 1])

    def _refused(self, response: requests.Response) -> NoReturn:
        status = f"{response.status_code} {response.reason}"
        message = _message(self._short(response))
        if response.status_code in (401, 403):
            raise self._unauthorized(f"it responded {status}{message}")
        if response.status_code == 404:
            raise ConfigurationError(
                f"{self.reference}: it is not in the registry {self.host}{printable_line(message)}",
                hint="Check repository and tag, or log in: some registries hide artifacts without a login.",
            )
        raise self.failed(f"it responded {status}{message}")

    def _unauthorized(self, why: str) -> ConfigurationError:
        access = "write to" if self._write else "read"
        return ConfigurationError(
            f"{self.reference}: the registry {self.host} denied access: {printable_line(why)}",
            hint=f"Log in with an account that may {access} it: docker login {self.host}, or oras login {self.host}.",
        )

    def failed(self, why: str, hint: str | None = None) -> InfrastructureError:
        """Return the error for a registry that is down, slow or broken."""
        hint = hint or "Check that it is up and reachable. What was pulled by digest before needs no registry."
        return InfrastructureError(
            f"{self.reference}: the registry {self.host} failed: {printable_line(why)}", hint=hint
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


def _body(response: requests.Response) -> Iterator[bytes]:
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        raise requests.exceptions.ContentDecodingError("it compresses its response, which was not requested")
    return iter(response.iter_content(PIECE))


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
