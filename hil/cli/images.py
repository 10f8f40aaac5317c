"""`hil image`: the images that boards boot."""

from __future__ import annotations

from pathlib import Path

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import PATH, as_json, echo, json_option, origin, out, show
from hil.cli.verbosity import working
from hil.errors import HilError
from hil.host import project

DEFAULT_ADDED = "wasmedge-sel4"


@click.group()
def image() -> None:
    """The images that boards boot."""


@image.command("list")
@json_option
def image_list(json_: bool) -> None:
    """List the images and their states. An image of the project hides one of the package that has the same name."""
    rows = []
    for name, path in project.current().names("images", ".toml").items():
        row = {"name": name, **origin("images", path), "title": "", "hypervisor": "", "state": ""}
        rows.append(row)
        try:
            manifest = slow.manifest.find(name)
            row |= {"title": manifest.title, "hypervisor": manifest.hypervisor}
            row["state"] = slow.image_store.state(manifest)
        except HilError as error:
            row["state"] = error.message
    show(rows, json_)


@image.command("build")
@click.argument("name", shell_complete=candidates.images)
@click.option("--force", is_flag=True, help="Build it again if it exists.")
@click.option("--mirror", metavar="URL", help="Package mirror instead of the default.")
def image_build(name: str, force: bool, mirror: str | None) -> None:
    """Build the image NAME, unless it exists."""
    with working() as progress:
        built = slow.image_build.build(slow.manifest.find(name), mirror=mirror, progress=progress, force=force)
    _summarize(built)


@image.command("add")
@click.argument("path", type=PATH)
@click.option("--name", default=DEFAULT_ADDED, shell_complete=candidates.images, help="Its manifest in images/.")
@click.option("--arguments", metavar="'...'", help="QEMU's arguments, instead of those in the build's `simulate`.")
@click.option("--force", is_flag=True, help="Replace the image of this name.")
def image_add(path: Path, name: str, arguments: str | None, force: bool) -> None:
    """Add the image of a WasmEdge-on-seL4 build, or of another CAmkES VM for QEMU.

    PATH is a build directory with `simulate` and `images/`, the directory above it, or an archive of it, such as the
    upstream release. None of its programs is run.
    """
    described = slow.manifest.find(name)
    with working() as progress:
        added = slow.add_image(path, described, arguments=arguments, force=force, progress=progress)
    _summarize(added)


@image.command("push")
@click.argument("name", shell_complete=candidates.images)
@click.argument("reference")
def image_push(name: str, reference: str) -> None:
    """Push the built or added image NAME to REFERENCE, a tag in a registry, and print the reference with its digest.

    REFERENCE is REGISTRY/REPOSITORY[:TAG]. The credentials are those of `docker login` and `oras login`.
    """
    described = slow.manifest.find(name)
    with working() as progress:
        pushed = slow.push_image(described, reference, progress=progress)
    echo(pushed)


@image.command("pull")
@click.argument("reference")
@click.option("--force", is_flag=True, help="Replace an image that was added from a build.")
def image_pull(reference: str, force: bool) -> None:
    """Pull an image that was pushed with `hil image push`, instead of building or adding it here.

    REFERENCE is REGISTRY/REPOSITORY[:TAG][@DIGEST], or oci-layout:PATH[:TAG][@DIGEST]. With a digest nothing else is
    accepted.
    """
    with working() as progress:
        pulled = slow.pull_image(reference, force=force, progress=progress)
    _summarize(pulled)


@image.command("info")
@click.argument("name", shell_complete=candidates.images)
@json_option
def image_info(name: str, json_: bool) -> None:
    """Print the files, the origin and the packages of the image NAME."""
    found = stored(name)
    if json_:
        as_json(
            {"name": name, "digest": found.digest, "directory": found.directory, "command": found.command()}
            | found.record
        )
        return
    out.print(f"{escape(found.manifest.title)} ({found.manifest.hypervisor})\ndigest {found.digest}\n{found.directory}")
    out.print(escape(found.provenance))
    show([{"file": file, **facts} for file, facts in sorted(found.record["files"].items())], False)
    if origin := found.record.get("origin"):
        show([{"origin": key, "is": value} for key, value in origin.items() if value], False)
    if packages := found.record.get("packages"):
        show([{"package": package, "version": version} for package, version in sorted(packages.items())], False)


@image.command("verify")
@click.argument("name", shell_complete=candidates.images)
def image_verify(name: str) -> None:
    """Verify the digests of all files of the image NAME."""
    found = stored(name)
    slow.image_store.verify(found)
    out.print(f"{len(found.files)} files of {escape(name)} are as recorded, digest {found.digest}")


def _summarize(found: slow.Image) -> None:
    out.print(
        f"{escape(found.manifest.title)}: {found.digest}\n{escape(str(found.directory))}\n{escape(found.provenance)}"
    )


def stored(name: str) -> slow.Image:
    """Return the image NAME. Raises `ConfigurationError` if it is not built."""
    described = slow.manifest.find(name)
    found = slow.image_store.open(described)
    if found is None:
        raise slow.image_store.absent(described)
    return found
