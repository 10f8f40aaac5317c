"""`hil snapshot`: the snapshots of emulated boards."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import click
from rich.markup import escape

from hil import slow
from hil.cli.common import json_option, out, show
from hil.host.disk import MIB


@click.group()
def snapshot() -> None:
    """The snapshots from which emulated boards are restored."""


@snapshot.command("list")
@json_option
def snapshot_list(json_: bool) -> None:
    """List the snapshots, the last used first.

    `size` is that on the disk: in MiB, with --json in bytes. A layer `holds` files that were sent to a board, and is
    of use with the snapshot that it is `of`.
    """
    rows = [
        {
            "board": facts.get("board", "damaged"),
            "image": facts.get("image", ""),
            "time": "virtual" if facts.get("clock") == "virtual time" else "real",
            "made": facts.get("made", ""),
            "used": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(directory.stat().st_mtime)),
            "size": size if json_ else f"{size / MIB:.0f} MiB",
            "holds": _names(facts) if json_ else ", ".join(_names(facts)),
            "of": facts.get("base", ""),
            "place": str(directory),
        }
        for directory, size, facts in slow.snapshot_store.stored()
    ]
    show(rows, json_)


def _names(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of the files that a layer holds; none for a snapshot."""
    return [PurePosixPath(path).name for path in facts.get("contents", {})]


@snapshot.command("clear")
@click.option("--keep-mib", type=click.IntRange(min=0), default=0, metavar="N", help="Keep N MiB of those used last.")
def snapshot_clear(keep_mib: int) -> None:
    """Remove the snapshots. Running boards are not affected; the next ones are booted and saved again."""
    before = slow.snapshot_store.stored()
    slow.snapshot_store.trim(most=keep_mib * MIB)
    after = slow.snapshot_store.stored()
    freed = sum(size for _, size, _ in before) - sum(size for _, size, _ in after)
    out.print(f"{len(before) - len(after)} removed, {freed / MIB:.0f} MiB; {len(after)} left")
    if after:
        out.print(escape(f"in {slow.snapshot_store.root()}"))
