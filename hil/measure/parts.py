"""The series of repeated executions of a module, part by part."""

from __future__ import annotations

from dataclasses import dataclass

from hil.errors import ConfigurationError
from hil.measure.series import Series


@dataclass(frozen=True)
class Parts:
    """Series of repeated executions of a module that was sent once, part by part.

    `response` is the time from the guest's request to the runner's answer. `inside` holds the part of it in the
    partition, by the stamps of the runner, and the rest; None if the image's runner takes no stamps. `transfer` has one
    sample: sending the module.
    """

    response: Series
    transfer: Series
    inside: tuple[Series, Series] | None = None

    @property
    def execution(self) -> Series:
        """The time in the partition, by its own stamps. Raises `ConfigurationError` without stamps."""
        return self._inside()[0]

    @property
    def overhead(self) -> Series:
        """The response time outside the partition: events, scheduling, hypervisor. Raises as `execution`."""
        return self._inside()[1]

    def _inside(self) -> tuple[Series, Series]:
        if self.inside is None:
            raise ConfigurationError(
                f"the runner of image {self.response.provenance['image']} takes no stamps of its executions",
                hint="Measure the response time, which the guest takes.",
            )
        return self.inside
