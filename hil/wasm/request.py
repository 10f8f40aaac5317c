"""A request: all that one deployment of a module is given, and the agent's command line for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hil.guest.shell import quote
from hil.image.manifest import Manifest, agent_of
from hil.wasm.execution import DEFAULT_LIMIT
from hil.wasm.loading import Loadable, load_module, words_of
from hil.wasm.module import Module, call_of
from hil.wasm.pins import pins_of, pins_option
from hil.wasm.preopens import (
    Directory,
    Preopen,
    directories_of,
    directory_options,
    environment_options,
    variables_of,
)
from hil.wasm.trees import Contents


@dataclass(frozen=True)
class Request:
    """What one deployment is given.

    `limit` is in seconds. `pins` are the names of the pins, analogue channels and buses that the module may use, `env`
    the names and values of the variables of its environment, `directories` those that it may use.
    """

    module: Module
    arguments: tuple[str, ...] = ()
    limit: float = DEFAULT_LIMIT
    pins: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    directories: tuple[Directory, ...] = ()

    @classmethod
    def of(
        cls,
        module: Loadable,
        arguments: Sequence[str | bytes],
        *,
        limit: float,
        pins: Sequence[str] | None,
        env: Mapping[str, str | bytes] | None = None,
        files: Mapping[str, Contents] | None = None,
        preopens: Sequence[Preopen] = (),
    ) -> Request:
        """Check what a caller gave.

        Raises the errors of `load_module`, `words_of`, `pins_of`, `variables_of` and `directories_of`.
        """
        module, words = load_module(module), words_of(arguments)
        directories = directories_of(preopens, files)
        return cls(module, words, limit, pins_of(module, pins), variables_of(env), directories)

    @property
    def call(self) -> str:
        """The module and its arguments on one line."""
        return call_of(self.module, self.arguments)

    def options(self, manifest: Manifest, places: Sequence[str]) -> list[str]:
        """Return the agent's options for what the module is given; `places` are its directories' in the guest.

        Raises `ConfigurationError` for what the image cannot give to a module.
        """
        limit_option = agent_of(manifest).limit_option
        limit = [limit_option.format(ms=max(1, round(self.limit * 1000)))] if limit_option else []
        env = environment_options(manifest, self.env)
        return [
            *limit,
            *pins_option(manifest, self.module, self.pins),
            *env,
            *directory_options(manifest, self.directories, places),
        ]

    def command(self, manifest: Manifest, options: Sequence[str], place: str, nonce: str | None) -> str:
        """Return the command line that runs the module, whose path in the guest is `place`."""
        facts = agent_of(manifest)
        seal = [facts.seal_option.format(nonce=nonce)] if facts.seal_option and nonce else []
        return quote([facts.command, *seal, *options, place, *self.arguments])
