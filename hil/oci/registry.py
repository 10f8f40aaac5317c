"""Registries of the OCI distribution spec: the blobs of a tag or a digest, and the push of new ones."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Iterator
from typing import IO

from hil.errors import HilError, InfrastructureError
from hil.oci.connection import Connection, HttpRequest
from hil.oci.manifests import INDEXES, MANIFEST_LIMIT, MANIFESTS
from hil.oci.reference import Reference, digest_of
from hil.oci.sending import Sent

_OCTETS = {"Content-Type": "application/octet-stream"}


class Registry:
    """The repository of `reference`, for reading. Responses are not trusted: the caller compares digests."""

    blame: type[HilError] = InfrastructureError

    def __init__(self, reference: Reference, *, slowest: float | None = None) -> None:
        self._connection = Connection(reference, slowest=slowest)
        self._resolved: dict[str, bytes] = {}

    def resolve(self, tag: str | None) -> tuple[str, int]:
        """Return digest and size of the current target of `tag`. Raises as `Connection.pieces`."""
        data = b"".join(self._get(f"manifests/{tag}", MANIFEST_LIMIT, manifest=True))
        digest = digest_of(data)
        self._resolved[digest] = data
        return digest, len(data)

    def pieces(self, digest: str, limit: int, *, manifest: bool = False) -> Iterator[bytes]:
        """Yield at most one byte more than `limit` of the blob with `digest`; a tag's manifest is requested once."""
        if digest in self._resolved:
            return iter((self._resolved[digest],))
        return self._get(f"{'manifests' if manifest else 'blobs'}/{digest}", limit, manifest=manifest)

    def _get(self, path: str, limit: int, *, manifest: bool) -> Iterator[bytes]:
        accept = {"Accept": ", ".join((*MANIFESTS, *INDEXES))} if manifest else {}
        return self._connection.pieces(HttpRequest("GET", f"{self._connection.url}/{path}", accept), limit)


class Upload:
    """The repository of `reference`, for writing. Raises as `Connection.pieces`.

    `slowest` is the rate in bytes per second below which an upload is given up.
    """

    def __init__(self, reference: Reference, *, slowest: float | None = None) -> None:
        self._connection = Connection(reference, write=True, slowest=slowest)

    def blob(self, file: IO[bytes], size: int, digest: str, advance: Callable[[int], None] = lambda _: None) -> bool:
        """Upload `file`, which has `size` bytes and the digest `digest`; return False if it is in the registry already.

        `advance` gets the number of bytes sent.
        """
        url = self._connection.url
        held = self._connection.call(HttpRequest("HEAD", f"{url}/blobs/{digest}", expected=(200, 404)))
        if held.status_code == 200:
            return False
        begun = self._connection.call(HttpRequest("POST", f"{url}/blobs/uploads/", body=b"", expected=(202,)))
        place = begun.headers.get("Location")
        if not place:
            raise self._connection.failed("its response to an upload names no location")
        place = urllib.parse.urljoin(begun.url, place)
        place += ("&" if "?" in place else "?") + urllib.parse.urlencode({"digest": digest})
        sent = 0

        def moved(size: int) -> None:
            nonlocal sent
            sent += size
            self._connection.moved(size)
            advance(sent)

        self._connection.call(HttpRequest("PUT", place, _OCTETS, Sent(file, size, moved), (201, 204)))
        return True

    def manifest(self, tag: str, data: bytes) -> str:
        """Store the manifest `data` under `tag` and return its digest."""
        headers = {"Content-Type": MANIFESTS[0]}
        self._connection.call(HttpRequest("PUT", f"{self._connection.url}/manifests/{tag}", headers, data, (201,)))
        return digest_of(data)
