"""The table `[conformance]` of a manifest: the cases of the conformance suite that fail on the image, and why."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hil.image.fields import Model

CaseName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*(/[!-~][ -~]*)?$")]
Reason = Annotated[str, Field(min_length=1)]


class ConformanceFacts(Model):
    """The cases that are expected to fail, by `GROUP/CASE`, each with the reason.

    A `GROUP` alone is one whose module does not run to its end: it is refused, or ends in the middle. The list is
    exact: the suite also fails for a case in it that passes, and for a name that it does not know.
    """

    expected_failures: dict[CaseName, Reason] = {}
