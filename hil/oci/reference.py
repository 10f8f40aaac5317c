"""References to artifacts: registry or layout, repository, tag and digest."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError

# OCI image spec 1.1 (digests) and distribution spec 1.1 (names, tags)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[0-9]{1,5})?", re.IGNORECASE)

LAYOUT = "oci-layout"
REGISTRIES = ("oci", "oci+http", "oci+https")
DEFAULT_TAG = "latest"  # in registries, as in other clients


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of `data` in OCI notation."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@dataclass(frozen=True)
class Reference:
    """A parsed reference.

    `store` is a registry's HOST[:PORT] or a layout's path; `repository` is empty for layouts. With a `digest` the `tag`
    is ignored.
    """

    scheme: str
    store: str
    repository: str = ""
    tag: str | None = None
    digest: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference | None:
        """Parse a reference; return None for text without one of the schemes. Raises `ConfigurationError`."""
        if text.startswith(f"{LAYOUT}:"):
            return cls._of_layout(text)
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in REGISTRIES:
            return None
        name, digest = _digest(text, rest)
        store, _, name = name.partition("/")
        repository, colon, tag = name.partition(":")
        if not _HOST.fullmatch(store):
            raise _wrong(text, f"{store!r} is not a registry's HOST or HOST:PORT")
        if not _REPOSITORY.fullmatch(repository):
            raise _wrong(text, f"{repository!r} is not a repository's name (lower case, digits, '.', '_', '-', '/')")
        if colon and not _TAG.fullmatch(tag):
            raise _wrong(text, f"{tag!r} is not a tag")
        return cls(scheme, store, repository, tag or (None if digest else DEFAULT_TAG), digest)

    @classmethod
    def _of_layout(cls, text: str) -> Reference:
        path, digest = _digest(text, text.removeprefix(f"{LAYOUT}:"))
        tag = None
        if not Path(path).exists():  # a path may contain colons
            before, colon, after = path.rpartition(":")
            if colon and before and _TAG.fullmatch(after):
                path, tag = before, after
        if not path:
            raise _wrong(text, "it names no path")
        return cls(LAYOUT, path, "", tag, digest)

    @property
    def plain(self) -> bool:
        """Whether the registry is used without TLS: `oci+http`, or `oci` on this machine."""
        return self.scheme == "oci+http" or (self.scheme == "oci" and _loopback(self.store))

    def __str__(self) -> str:
        start = f"{LAYOUT}:{self.store}" if self.scheme == LAYOUT else f"{self.scheme}://{self.store}/{self.repository}"
        return start + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def _digest(text: str, rest: str) -> tuple[str, str | None]:
    name, at, digest = rest.rpartition("@")
    if not at or (text.startswith(LAYOUT) and not digest.startswith(("sha256:", "sha512:"))):
        return rest, None
    if not DIGEST.fullmatch(digest):
        raise _wrong(text, f"{digest!r} is not a digest (sha256: and 64 hexadecimal digits in lower case)")
    return name, digest


def _wrong(text: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{text!r} does not refer to an OCI artifact: {why}",
        hint="Write oci://REGISTRY/REPOSITORY:TAG or oci-layout:PATH:TAG, with @sha256:DIGEST to pin it.",
    )


def _loopback(store: str) -> bool:
    host = store if store.endswith("]") else store.rpartition(":")[0] or store
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
