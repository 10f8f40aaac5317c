"""`hil link`: the delay of a board's serial line."""

from __future__ import annotations

import click

from hil.cli.common import as_json, board_option, boot_option, brought_up, image_option, json_option, powered, show
from hil.errors import ConfigurationError


@click.command("link")
@board_option
@image_option
@boot_option
@json_option
def link_(name: str, image: str | None, boot: bool, json_: bool) -> None:
    """Bring a board up and measure the delays of the link to its shell."""
    with powered(name, image, snapshots=not boot) as chosen:
        brought_up(chosen, boot=boot)
        from hil.guest import Guest
        from hil.measure import link

        found = link.of(Guest(chosen))
        if found is None:
            raise ConfigurationError(f"board {name} is a recording: its link cannot be measured")
        if json_:
            as_json({"board": chosen.name, **vars(found), "transport": vars(found.transport), "hints": found.hints})
            return
        show([{"what": name, "is": value} for name, value in found.facts.items()], False)
