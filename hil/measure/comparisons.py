"""Series that are computed from two others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.quantities import ADDED, RELATIVE
from hil.measure.series import Series


def added(loaded: Series, idle: Series) -> Series:
    """Return the samples of `loaded` less the median of `idle`."""
    return replace(loaded, quantity=ADDED, samples=loaded.samples - float(np.median(idle.samples)))


def relative(series: Series, to: Series) -> Series:
    """Return each sample of `series` as a share of the median of `to`.

    Raises `ConfigurationError` for series of different units or clocks and for a median of 0.
    """
    middle = float(np.median(to.samples))
    if (series.unit, series.clock.name) != (to.unit, to.clock.name) or not middle:
        raise ConfigurationError(
            f"{series.quantity} of {series.subject} by {series.clock.name} is not comparable with {to.quantity} of "
            f"{to.subject} by {to.clock.name}, whose median is {middle} {to.unit}"
        )
    subject = f"{series.subject} to {to.subject}"
    share = replace(series, quantity=RELATIVE, subject=subject, samples=series.samples / middle, unit="1")
    return replace(share, host=[replace(window, unit=middle) for window in series.host])
