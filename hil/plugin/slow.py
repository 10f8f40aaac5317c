"""The modules that take long to import: each is imported when one of its names is first used.

A mere collection of tests must import none of them.
"""

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from labgrid import Environment as Environment

    from hil.board import boardfile as boardfile
    from hil.board.board import Board as Board
    from hil.board.diagnosis import is_fatal as is_fatal
    from hil.compare.baseline import Baselines as Baselines
    from hil.console import Transcript as Transcript
    from hil.faults import record as record
    from hil.faults import report as report
    from hil.faults.injector import Injector as Injector
    from hil.guest import Guest as Guest
    from hil.history.ingest import add_run as add_run
    from hil.image import manifest as manifest
    from hil.measure import link as link
    from hil.measure import results as results
    from hil.measure.bounds_file import Bounds as Bounds
    from hil.measure.checking import recorded as recorded
    from hil.measure.decision import decide as decide
    from hil.measure.measure import Measure as Measure
    from hil.measure.seeds import pool as pool
    from hil.measure.soak import soak as soak
    from hil.measure.unmatched import unmatched as unmatched
    from hil.places import selector as selector
    from hil.qemu import lockstep as lockstep
    from hil.report import evidence as evidence
    from hil.report import labels as labels
    from hil.report.console import Mark as Mark
    from hil.report.console import Span as Span
    from hil.report.console import stages_of as stages_of
    from hil.report.kinds import kind_of as kind_of
    from hil.report.repeat import Deployed as Deployed
    from hil.report.repeat import Ran as Ran
    from hil.report.repeat import software as software
    from hil.report.writer import replace_writer as replace_writer
    from hil.stats.rates import rate as rate
    from hil.wasm import Runner as Runner
    from hil.wasm import Samples as Samples
    from hil.wasm.health_check import check_health as check_health
else:
    __getattr__ = lazy_names(__name__)
