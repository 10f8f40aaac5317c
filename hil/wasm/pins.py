"""The pins, analogue channels and buses that a module may use: names on the agent's command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean
from hil.image.manifest import Manifest, agent_of
from hil.text import printable_line
from hil.wasm.module import Module

_REFUSED = re.compile(rb"\[error\] pin-not-allowed ([A-Z][A-Z0-9_]*)\r?$", re.MULTILINE)  # the runner's line
PIN = r"[A-Z][A-Z0-9_]{0,30}"  # a line name in the kernel has 31 characters at most


def pins_of(module: Module, pins: Sequence[str] | None) -> tuple[str, ...]:
    """Return `pins`, or for None those of the module itself. Raises `ConfigurationError` for what is no name."""
    names = module.pins if pins is None else pins
    of = printable_line(module.name)
    if isinstance(names, str) or not isinstance(names, Sequence):  # the order of a set differs from run to run
        raise ConfigurationError(
            f"the pins of {of} are {printable_line(repr(names)[:80])}, which is no sequence of names",
            hint='Give a list, as in pins=["BUTTON", "LED"].',
        )
    for name in names:
        if not isinstance(name, str) or not re.fullmatch(PIN, name):
            raise ConfigurationError(
                f"{printable_line(repr(name)[:80])} among the pins of {of} is no name of a pin",
                hint="A name has 1 to 31 capital letters, digits and underscores, first a letter.",
            )
    return tuple(names)


def pins_option(manifest: Manifest, module: Module, pins: tuple[str, ...]) -> list[str]:
    """Return the agent's option that allows `pins`; nothing without pins.

    Raises `ConfigurationError` for an image whose agent has no such option, and for a name that is none of its
    manifest's pins, analogue channels and CAN0; a manifest without any of them allows all names.
    """
    option = agent_of(manifest).pins_option
    if not pins:
        return []
    if option is None:
        raise ConfigurationError(
            f"the module {printable_line(module.name)} may use the pins {', '.join(pins)}, but the agent of image "
            f"{manifest.name} has no option for pins",
            hint="Choose an image with pins, set agent.pins_option in its manifest, or pass pins=() to run without.",
        )
    known = known_names(manifest)
    if known and (unknown := [name for name in pins if name not in known]):
        raise ConfigurationError(
            f"the module {printable_line(module.name)} may use {unknown[0]!r}, but image {manifest.name} has no such "
            "pin, channel or bus",
            hint=f"{did_you_mean(unknown[0], known)}The names are: {', '.join(known)}.",
        )
    return [option.format(pins=",".join(pins))]


def refused_pins(console: bytes) -> list[str]:
    """Return the names that the runner has refused to a module, by its lines on the console."""
    return list(dict.fromkeys(name.decode() for name in _REFUSED.findall(console)))


def known_names(manifest: Manifest) -> list[str]:
    """Return the names of the partition's pins, analogue channels and bus."""
    known = [] if manifest.pins is None else list(manifest.pins.lines)
    if (analogue := manifest.analogue) is not None:
        known += [f"AI{number}" for number in range(analogue.inputs)]
        known += [f"AO{number}" for number in range(analogue.outputs)]
    return known if manifest.can is None else [*known, "CAN0"]
