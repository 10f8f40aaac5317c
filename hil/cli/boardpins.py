"""`hil board pins`: what drives and what observes each pin of a board."""

from __future__ import annotations

import click

from hil import slow
from hil.cli.common import board_option, image_option, json_option, print_error, show, terms
from hil.errors import ConfigurationError


@click.command("pins")
@board_option
@image_option
@json_option
def board_pins(name: str, image: str | None, json_: bool) -> None:
    """List the pins of a board, with what drives and what observes each; nothing is switched on.

    The exit status is 1 if the board file lacks a digital output or a channel of the logic analyser for a pin.
    """
    with slow.Board(name, image=image, terms=terms()) as board:
        if board.emulated:
            facts = board.manifest.pins
            inputs, outputs = (facts.inputs, facts.outputs) if facts is not None else ({}, {})
            rows = [_row(pin, pin in inputs, "the emulator", "the emulator") for pin in (*inputs, *outputs)]
            missing = []
        else:
            slow.analyser_of(board)
            pins = slow.bench_pins(board.target, board.manifest.pins)
            rows = [
                _row(
                    *(pin.name, pin.is_input),
                    *(pin.driver.display_name if pin.driver is not None else "", pin.channel),
                )
                for pin in pins.values()
            ]
            missing = [f"pin {pin.name}: {pin.missing}" for pin in pins.values() if pin.missing]
        if not rows:
            raise ConfigurationError(
                f"board {board.name} has no pins: neither image {board.manifest.name} nor the board file names any",
                hint="Add the table [pins] to the image's manifest, or name the channels of the logic analyser.",
            )
    show(rows, json_)
    for text in missing:
        print_error(ConfigurationError(text, hint=f"Add it to {board.path} (docs/bench-pins.md)."))
    raise SystemExit(bool(missing))


def _row(name: str, is_input: bool, driver: str, channel: str) -> dict[str, str]:
    direction = "input" if is_input else "output"
    return {
        "pin": name,
        "direction": direction,
        "driven by": (driver or "nothing") if is_input else "the partition",
        "observed by": channel or "nothing",
    }
