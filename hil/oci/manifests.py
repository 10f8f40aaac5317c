"""Manifests and indexes of OCI artifacts: their models, and the choice among several manifests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.errors import ConfigurationError
from hil.oci.reference import DIGEST
from hil.text import printable_line

MIB = 1 << 20
MANIFEST_LIMIT = 4 * MIB  # bytes; the distribution spec requires registries to accept as many
LISTED = 20  # layers, manifests or files in an error

INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
TITLE = "org.opencontainers.image.title"
REF_NAME = "org.opencontainers.image.ref.name"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", populate_by_name=True)


class Platform(_Model):
    os: str = ""
    architecture: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


class Descriptor(_Model):
    """A reference to a blob: media type, digest, size in bytes."""

    media_type: str = Field(alias="mediaType")
    digest: str = Field(pattern=f"^(?:{DIGEST.pattern})$")
    size: int = Field(ge=0)
    annotations: dict[str, str] | None = None
    artifact_type: str | None = Field(default=None, alias="artifactType")
    platform: Platform | None = None

    @property
    def name(self) -> str:
        """The tag in the index of a layout, or the title of a layer; may be empty."""
        return (self.annotations or {}).get(REF_NAME) or (self.annotations or {}).get(TITLE, "")

    def __str__(self) -> str:
        parts = (self.name[:80], str(self.platform or ""), self.media_type[:80], self.digest[:19])
        return printable_line(" ".join(filter(None, parts)))


class Document(_Model):
    """A manifest or an index."""

    schema_version: Literal[2] = Field(alias="schemaVersion")
    artifact_type: str | None = Field(default=None, alias="artifactType")
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] | None = Field(default=None, strict=False)
    manifests: tuple[Descriptor, ...] | None = Field(default=None, strict=False)
    annotations: dict[str, str] | None = None


def parse(data: bytes, what: str) -> Document:
    """Parse a manifest or an index. Raises `ConfigurationError` for neither and for both."""
    try:
        document = Document.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{what}: not a manifest of schema 2: {where or 'JSON'}: {first['msg']}") from None
    if (document.layers is None) == (document.manifests is None):  # both: clients would disagree
        raise ConfigurationError(f"{what}: a manifest has `layers`, an index `manifests`; this has both or neither")
    return document


@dataclass(frozen=True)
class Wanted:
    """The kind of artifact that is looked for: its name in errors, and the manifests of an index that fit.

    `target` is what a manifest is chosen for, in the words of an error.
    """

    noun: str
    target: str
    fits: Callable[[Descriptor], bool]


def choose(manifests: Sequence[Descriptor], wanted: Wanted, what: str) -> Descriptor:
    """Return the only manifest of an index that fits. Raises `ConfigurationError` with a list."""
    fitting = [each for each in manifests if wanted.fits(each)]
    if not fitting and len(manifests) == 1 and manifests[0].platform is None:
        fitting = list(manifests)
    if len(fitting) == 1:
        return fitting[0]
    listed = "".join(f"\n  {each}" for each in manifests[:LISTED]) or " nothing"
    count = "none" if not fitting else str(len(fitting))
    raise ConfigurationError(
        f"{what}: of its {len(manifests)} manifests {count} can be taken for {wanted.target}; it holds:{listed}",
        hint="Name one by its tag, or by @ and its digest.",
    )
