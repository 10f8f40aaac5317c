"""`hil fault`: faults injected into a board, and how well it copes with them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import PATH, as_json, board_option, image_option, json_option, out, show, terms
from hil.cli.verbosity import watched
from hil.errors import ConfigurationError


@click.group()
def fault() -> None:
    """Faults, injected on purpose."""


@fault.command("list")
@board_option
@image_option
@json_option
def fault_list(name: str, image: str | None, json_: bool) -> None:
    """List the faults that a board supports: what each does and what it needs."""
    with slow.Board(name, image=image, terms=terms()) as board:
        rows = [
            {"name": fault.name, "does": fault.about, "needs": fault.needs} for fault in slow.faults_for(board.manifest)
        ]
    show(rows, json_)


@fault.command("inject")
@click.argument("names", metavar="NAME...", nargs=-1, shell_complete=candidates.faults)
@click.option("--all", "all_", is_flag=True, help="All faults that the board supports.")
@board_option
@image_option
@click.option("--fault-seed", "seed", type=int, default=1, metavar="K", help="Seed of random instants and contents.")
@click.option("--report", type=PATH, metavar="FILE", help="Also write a report in Markdown.")
@json_option
def fault_inject(
    names: tuple[str, ...], all_: bool, name: str, image: str | None, seed: int, report: Path | None, json_: bool
) -> NoReturn:
    """Bring a board up, inject the faults NAME... one after the other, and check the board after each.

    The exit status is 0 if the image handled all of them well, else 1; 2 for an error in the input.
    """
    with slow.Board(
        name, image=image, health_check=lambda board: slow.check_health(slow.Guest(board)), terms=terms()
    ) as board:
        if bool(names) == all_:
            raise ConfigurationError(
                "no faults are selected, or both names and --all", hint="give names from `hil fault list`, or --all"
            )
        selected = slow.injector.select(board, names)
        if report is not None and not report.parent.is_dir():  # before the work, not after it
            raise ConfigurationError(f"cannot write {report}: the directory {report.parent} does not exist")
        board.image()
        with watched() as display:

            def on_start(number: int, fault: slow.Fault) -> None:
                display.title = f"{number} of {len(selected)}: {fault.name}"
                display.step("on a fresh board")

            records, ended = slow.injector.inject(board, selected, seed=seed, on_start=on_start)
    facts = {"board": board.name, "image": board.manifest.title, "hypervisor": board.manifest.hypervisor}
    if json_:
        as_json([asdict(record) for record in records])
    else:
        show([slow.fault_report.row(record) for record in slow.fault_report.ordered(records)], False)
        out.print(f"[bold]{escape(slow.fault_report.summary(records))}[/]")
    if report is not None:
        try:
            report.write_text(slow.fault_report.markdown(records, facts, report.parent), "utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot write {report}: {error.strerror}") from error
    if ended is not None:
        raise ended
    raise SystemExit(0 if all(record.grade == slow.fault_record.HELD for record in records) else 1)
