"""The files that U-Boot loads over TFTP: their addresses, and their staging at the server."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labgrid import Target
from labgrid.driver import ExecutionError, TFTPProviderDriver
from labgrid.resource import TFTPProvider
from labgrid.resource.common import NetworkResource
from labgrid.util.managedfile import ManagedFileError

from hil.board.seam import guarded
from hil.errors import ConfigurationError, InfrastructureError
from hil.image.manifest import check_overlaps
from hil.image.store import Image

ADDRESS = re.compile(r"0x[0-9a-fA-F]+|\$\{[A-Za-z_]\w*\}")
PLAIN = re.compile(r"[\w./+:@%=,-]+")  # one word in U-Boot's shell


@dataclass(frozen=True)
class BootFile:
    """A file that U-Boot loads: `size` bytes from `path` on this host to `address`, a number or a U-Boot variable."""

    name: str
    path: Path
    size: int
    address: str


def boot_files(image: Image, load: Mapping[str, Any]) -> tuple[BootFile, ...]:
    """Return the files of the board file's `load`, then those that the image's manifest places.

    Raises `ConfigurationError` for a malformed address, an unknown file, and overlapping files.
    """
    machine = image.manifest.machine
    addresses: dict[str, int | str] = dict(load)
    for placed in machine.load:
        addresses.setdefault(placed.file, placed.address)
    found: list[BootFile] = []
    for name, address in addresses.items():
        if name not in image.files:
            raise ConfigurationError(
                f"load: image {image.manifest.name} has no file {name!r}",
                hint=f"correct the board file's HilStrategy; the files are: {', '.join(sorted(image.files))}",
            )
        text = hex(address) if isinstance(address, int) else address
        if not isinstance(text, str) or isinstance(address, bool) or not ADDRESS.fullmatch(text):
            raise ConfigurationError(
                f"load: {address!r} is no address for {name!r}",
                hint="give one like 0x40400000, or a variable like ${loadaddr}",
            )
        found.append(BootFile(name, image.files[name], image.files[name].stat().st_size, text))
    areas = {file.name: (int(file.address, 16), file.size) for file in found if file.address.startswith("0x")}
    try:
        check_overlaps(areas | {area.name: (area.address, area.size) for area in machine.reserved})
    except ValueError as error:
        raise ConfigurationError(
            f"load: {error}", hint="change an address in the board file or the manifest"
        ) from error
    return tuple(found)


def stage(driver: TFTPProviderDriver, files: Sequence[BootFile]) -> dict[str, str]:
    """Put the files into the TFTP server's directory; return the name of each there.

    labgrid reaches a server on another host by SSH. Raises `InfrastructureError`, and `ConfigurationError` for unusable
    names.
    """
    offered: dict[str, str] = {}
    with _provider(driver) as (where, offer):
        for file in files:
            try:
                name = offer(str(file.path))
            except (OSError, ExecutionError, ManagedFileError) as error:
                raise InfrastructureError(
                    f"cannot stage {file.name} for TFTP in {where}: {error}",
                    hint="make the directory writable for you, on another host by SSH without a password",
                ) from error
            if not PLAIN.fullmatch(name):
                raise ConfigurationError(
                    f"U-Boot cannot name the file {name!r}", hint="rename it without special characters"
                )
            if name in offered.values():
                raise ConfigurationError(
                    f"two files of the image are called {name} on the TFTP server", hint="rename one of them"
                )
            offered[file.name] = name
    return offered


@contextmanager
def _provider(driver: TFTPProviderDriver) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Yield the directory of the TFTP server and the function that stages a file there.

    labgrid uses SSH for everything that an exporter exports, even on this host; a local directory needs none.
    """
    with guarded("the TFTP provider cannot be used"):
        driver.target.activate(driver)
    provider = driver.provider
    where = f"{provider.host}:{provider.internal}"
    if not _is_local(provider):
        yield where, driver.stage
        return
    staging = Target("staging")
    try:
        TFTPProvider(staging, None, internal=provider.internal, external=provider.external)
        local = TFTPProviderDriver(staging, None)
        staging.activate(local)
        yield where, local.stage
    finally:
        staging.cleanup()


def _is_local(provider: Any) -> bool:
    """Return whether an exported directory is on this host."""
    if not isinstance(provider, NetworkResource) or "LG_PROXY" in os.environ:
        return False
    proxied = (getattr(provider, "extra", None) or {}).get("proxy_required")
    same = provider.host in ("localhost", "127.0.0.1", "::1", socket.gethostname())
    return bool(same and not proxied and Path(provider.internal).is_dir())
