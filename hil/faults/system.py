"""Faults of the guest's system: a panic, no memory, a clock that jumps."""

from __future__ import annotations

from hil.board.diagnosis import diagnose
from hil.faults.injecting import SHORT, Injecting
from hil.faults.record import Injection

PANIC_LIMIT = 2.0  # seconds for a shell whose kernel is to panic
OOM_LIMIT = 120.0  # seconds to fill the memory
JUMPED, JUMP_LIMIT = "/tmp/hil-jumped", 10.0  # exists once the clock was set; seconds for it


class SystemFaults(Injecting):
    """Faults of the guest's system."""

    def panic(self) -> Injection:
        """Make the guest's kernel panic."""
        with self._injecting("panic") as account:
            account.done = "the guest's kernel was made to crash (sysrq c)"
            self.board.dirty = "its guest's kernel panicked"
            with account.watching():
                done = self.guest.run("echo c >/proc/sysrq-trigger", timeout=PANIC_LIMIT)
                account.note("survived", f"the command ended with status {done.status}")
            manifest = self.board.manifest
            account.did.append(
                f"on the line: {diagnose(self.board.console, manifest.failures, manifest.console.noise)}"
            )
        return self.injections[-1]

    def out_of_memory(self) -> Injection:
        """Let a process in the guest take memory until none is left."""
        with self._injecting("out-of-memory") as account, account.watching():
            account.done = "a process in the guest took memory without end"
            done = self.guest.run("(tail /dev/zero)", timeout=OOM_LIMIT)
            if done.status <= 128:
                account.note("refused", f"it ended with status {done.status}: {done.text.strip()[-200:]}")
            else:
                message = next((line for line in done.foreign if "Out of memory" in line), "")
                account.note("killed", f"it was ended by signal {done.status - 128}{': ' * bool(message)}{message}")
        return self.injections[-1]

    def jump_clock(self, seconds: int) -> Injection:
        """Set the guest's clock `seconds` ahead (negative: back) while a module runs, and back afterwards."""
        name = "clock-forward" if seconds > 0 else "clock-back"
        with self._injecting(name) as account, account.watching():
            account.done = f"the guest's clock was set {abs(seconds)} s {'ahead' if seconds > 0 else 'back'}"
            module = self.long_module()
            self.runner.place(module)
            before = self.guest.run("date +%s", check=True)
            # a clock near 1970 cannot go back a day
            ahead = -2 * seconds if int(before.text) + seconds < 0 else 0
            if ahead:
                before = self.guest.run(f"date -s @$(($(date +%s)+{ahead})) >/dev/null;date +%s", check=True)
            jump = f"usleep 300000;date -s @$(($(date +%s)+({seconds})));echo >{JUMPED}"
            self.guest.run(f"rm -f {JUMPED};({{ {jump};}} >/dev/null 2>&1 &)", check=True)
            account.run(self.runner.run(module, limit=SHORT, restore=False))
            # a short module ends before the clock is set
            after = self.guest.run(
                f"while ! test -e {JUMPED};do usleep 10000;done;date +%s", timeout=JUMP_LIMIT, check=True
            )
            moved = int(after.text) - int(before.text) - (after.end_ns - before.end_ns) / 1e9
            self.guest.run(f"date -s @$(($(date +%s)-({seconds + ahead}))) >/dev/null", check=True)
            if abs(moved - seconds) > 5:
                account.note("refused", f"the clock went {moved:+.0f} s instead of {seconds:+d} s")
        return self.injections[-1]
