"""The catalogue of faults: what each does and needs, and the expected result on a good image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.faults.record import AT_ONCE, BY_ITSELF, FRESH, Injection
from hil.host.hints import did_you_mean

if TYPE_CHECKING:  # a mere list of faults loads no board
    from hil.faults.maker import FaultMaker
    from hil.image.manifest import Manifest

DAY = 86_400  # seconds
ANY, EMULATED = "any board", "QEMU"


@dataclass(frozen=True)
class Fault:
    """A fault. `ought` is a pattern of the words expected of a good image, `usable` its worst state afterwards."""

    name: str
    about: str
    inject: Callable[[FaultMaker], Injection]
    ought: str = "exited"
    usable: str = AT_ONCE
    needs: str = ANY


FAULTS = (
    Fault(
        "power-cut",
        "the power is cut during a deployment",
        lambda make: make.cut_power(during=make.long_module(ends=False)),
        "LineClosed|stuck",
        FRESH,
    ),
    Fault("reset", "the machine is reset and boots by itself", lambda make: make.reset(), "rebooted", BY_ITSELF),
    Fault(
        "freeze",
        "the machine is stopped for 2 s during a deployment",
        lambda make: make.freeze(2.0, during=make.long_module()),
        "exited|failed",
        needs=EMULATED,
    ),
    Fault(
        "qemu-killed",
        "QEMU is killed during a deployment",
        lambda make: make.kill_qemu(during=make.long_module(ends=False)),
        "LineClosed",
        FRESH,
        EMULATED,
    ),
    Fault("slow-host", "QEMU gets a third of the time", lambda make: make.slow_host(0.3), needs=EMULATED),
    Fault("panic", "the guest's kernel panics", lambda make: make.panic(), "CommandTimeout", FRESH),
    Fault(
        "out-of-memory",
        "a process takes all of the guest's memory",
        lambda make: make.out_of_memory(),
        "killed|refused",
    ),
    Fault("clock-forward", "the guest's clock jumps a day forward", lambda make: make.jump_clock(DAY), "exited|failed"),
    Fault("clock-back", "the guest's clock jumps a day back", lambda make: make.jump_clock(-DAY), "exited|failed"),
    Fault("agent-killed", "the agent is killed during a transfer", lambda make: make.kill_agent(), "killed"),
    Fault("two-agents", "two agents deploy at once", lambda make: make.two_agents()),
    Fault("module-endless", "a module never ends", lambda make: make.module("endless"), "failed"),
    Fault("module-trapping", "a module traps", lambda make: make.module("trapping"), "failed"),
    Fault("module-allocating", "a module takes all memory", lambda make: make.module("allocating"), "exited|failed"),
    Fault(
        "module-recursing",
        "a module calls itself for ever",
        lambda make: make.module("recursing", limit=20),
        "failed|faulted",
    ),
    Fault("module-flooding", "a module prints without end", lambda make: make.module("flooding", limit=0.2), "failed"),
    Fault("module-huge", "a module of 20 MiB", lambda make: make.module("huge", limit=10)),
    Fault("modules-malformed", "8 malformed modules are deployed", lambda make: make.malformed(), "exited|failed"),
    Fault("bad-requests", "requests that break the runner's protocol", lambda make: make.bad_requests(), "answered"),
    Fault(
        "line-noise",
        "bits flip, and foreign lines are injected",
        lambda make: make.line_noise(),
        "exited|garbled|silent|stuck|no-agent|GuestError|CommandTimeout|LineTimeout",
    ),
    Fault("line-stall", "nothing passes on the line for 2 s", lambda make: make.line_stall(2.0)),
    Fault("line-cut", "the line is cut during a deployment", lambda make: make.line_cut(), "LineClosed", FRESH),
)


def faults_for(manifest: Manifest) -> tuple[Fault, ...]:
    """Return all faults for an image: the common ones, and a power cut in each stage of its boot."""
    return (*FAULTS, *(at_stage(stage.name) for stage in manifest.stages))


def at_stage(stage: str) -> Fault:
    """Return the fault of a power cut while a boot waits for `stage`."""
    return Fault(
        f"power-cut@{stage}",
        f"the power is cut while a boot waits for stage {stage!r}",
        lambda make: make.cut_power(stage=stage),
        "LineClosed|BootError",
        FRESH,
    )


def fault(name: str, manifest: Manifest | None = None) -> Fault:
    """Return the fault `name`, of the stages of `manifest` too. Raises `ConfigurationError` for an unknown name."""
    known = {fault.name: fault for fault in (FAULTS if manifest is None else faults_for(manifest))}
    if name in known:
        return known[name]
    raise ConfigurationError(
        f"there is no fault {name!r}",
        hint=f"{did_you_mean(name, known)}the faults are: {', '.join(known)}",
    )
