"""Modules compiled ahead of time for the runner of an image, and which of them a runner takes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from hil.errors import ConfigurationError, InfrastructureError
from hil.image.manifest import Manifest, agent_of
from hil.image.native import Refused, compile_module, compiler_of, kept
from hil.image.store import Image
from hil.text import printable_line
from hil.wasm.loading import Loadable, load_module
from hil.wasm.module import Module, NativeCode
from hil.wasm.native_code import with_native, without_data

INTERPRETED = "Run it interpreted: without aot=True or --aot."


def compiled(module: Loadable, manifest: Manifest, image: Callable[[], Image]) -> Module:
    """Return `module` with native code for the runner of the image, compiled now or in the cache.

    Modules that differ in their data only, such as scripts in the same interpreter, share the native code. The name,
    source, pins and `ready` of the module stay. A module with native code for that runner is returned unchanged.
    `image` is called if it has to be compiled.

    Raises `ConfigurationError` for an image that takes no compiled modules or whose compiler is not on this machine,
    for a module that the compiler refuses and as `check_native`; `InfrastructureError` as `native.compile_module`.
    """
    module = load_module(module)
    if (facts := agent_of(manifest).aot) is None:
        raise ConfigurationError(
            f"the manifest of image {manifest.name} does not say whether its runner takes compiled modules",
            hint=f"Set [agent.aot] in {manifest.path or 'it'}, see docs/compile.md, or run the module interpreted.",
        )
    if facts.refused is not None:
        raise ConfigurationError(f"image {manifest.name} takes no compiled modules: {facts.refused}", hint=INTERPRETED)
    check_native(module, manifest)
    if module.native is not None:
        return module
    name = printable_line(module.name)
    try:
        compiler = compiler_of(image())
        # the samples that an image holds were compiled as they are when it was built, to the same bytes
        data = kept(compiler, module.data) or with_native(
            module.data, compile_module(compiler, name, _code(module.data))
        )
    except Refused as error:
        raise ConfigurationError(error.message, hint=INTERPRETED) from error
    made = Module.of(module.name, data, module.source)
    if made.native is None:
        raise InfrastructureError(f"the compiler of image {manifest.name} made no native code of {name}")
    check_native(made, manifest)
    return replace(
        module,
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        kind=made.kind,
        path=None,
        native=made.native,
        compiled_from=module.sha256,
    )


def _code(data: bytes) -> bytes:
    """Return what of a module decides its native code."""
    try:
        return without_data(data)
    except ValueError:  # the compiler reports what is wrong
        return data


def check_native(module: Module, manifest: Manifest) -> None:
    """Check that the runner takes the native code of `module`, if it has any.

    An image that takes none gets it: its verdict shows what the runner does with it. Raises `ConfigurationError` for
    code for another system, CPU or format.
    """
    facts = agent_of(manifest).aot
    if module.native is None or facts is None or facts.refused is not None:
        return
    assert facts.format is not None
    assert facts.system is not None
    assert facts.cpu is not None
    taken = NativeCode(facts.format, facts.system, facts.cpu)
    if module.native != taken:
        raise ConfigurationError(
            f"the module {printable_line(module.name)} is compiled for {module.native}; the runner of image "
            f"{manifest.name} takes {taken}, and would interpret it",
            hint="Compile the module again, from the one without native code, for this image: hil compile MODULE "
            f"--image {manifest.name}",
        )
