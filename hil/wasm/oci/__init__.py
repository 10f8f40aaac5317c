"""Modules from OCI image layouts and registries; digests verify each byte."""

from __future__ import annotations

from pathlib import Path

from hil.oci.reference import LAYOUT, Reference
from hil.wasm.module import Module

__all__ = ["LAYOUT", "Reference", "load"]


def load(where: str | Path) -> Module:
    """Return the module at `where`: a file, an OCI image layout (directory or tar) or a reference to an artifact.

    References are `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]` and `oci-layout:PATH[:TAG][@DIGEST]`. The module's
    `source` is the reference with the digest that was found: it always returns the same bytes.

    Raises `ConfigurationError` if nothing is there, or it may not be read or is not a module, `InfrastructureError` if
    a registry does not respond correctly within `hil.oci.connection.TOTAL` seconds.
    """
    reference = Reference.parse(where) if isinstance(where, str) else None
    if reference is None and (path := Path(where)).exists():
        from hil.oci import layout

        reference = Reference(LAYOUT, str(path)) if layout.is_layout(path) else None
    if reference is None:
        return Module.load(Path(where))
    from hil.wasm.oci import artifact

    return artifact.load(reference)
