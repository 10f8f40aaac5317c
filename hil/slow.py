"""The modules that take long to import: each is imported when one of its names is first used.

A mere collection of tests, and the help of the commands, must import none of them.
"""

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from labgrid import Environment

    from hil.board import boardfile, draft
    from hil.board.board import Board
    from hil.board.boot_report import BootReport
    from hil.board.boot_series import boot_repeatedly
    from hil.board.diagnosis import is_fatal
    from hil.board.images import manifest_in
    from hil.board.lifecycle import BoardDown, BoardUp, Lifecycle
    from hil.board.spare import SpareBoard, Spares
    from hil.compare import baseline
    from hil.compare.baseline import Baselines
    from hil.console import Console, Transcript, asciicast, listing
    from hil.console.recording import Recording
    from hil.console.replay import paced
    from hil.console.terminal import interact
    from hil.faults import injector
    from hil.faults import record as fault_record
    from hil.faults import report as fault_report
    from hil.faults.catalogue import Fault, faults_for
    from hil.faults.injector import Injector
    from hil.faults.record import FaultRecord, Injection
    from hil.guest import Guest
    from hil.guest.typed import text_of
    from hil.history import ingest
    from hil.history.ingest import add_run
    from hil.history.rows import Run
    from hil.history.store import History
    from hil.host import extras, progress, toml
    from hil.image import build as image_build
    from hil.image import manifest
    from hil.image import store as image_store
    from hil.image.add import add as add_image
    from hil.image.pull import pull as pull_image
    from hil.image.push import push as push_image
    from hil.image.store import Image
    from hil.lab import Lab, take_down
    from hil.measure import link, results, suggestions
    from hil.measure.bounds_file import Bounds
    from hil.measure.checking import Record, recorded
    from hil.measure.decision import Check, decide
    from hil.measure.measure import Measure
    from hil.measure.provenance import provenance
    from hil.measure.results import CheckResult, SeriesRecord
    from hil.measure.seeds import pool
    from hil.measure.series import Series
    from hil.measure.soak import soak
    from hil.measure.soak_result import Soak
    from hil.measure.unmatched import unjudged, unmatched
    from hil.nightly import night, plan, state
    from hil.places import coordinator, selector
    from hil.plots import files as plot_files
    from hil.qemu import lockstep, snapshot_store
    from hil.report import build as report_build
    from hil.report import evidence, generator, labels, merge
    from hil.report import signals as signal_report
    from hil.report.console import Mark, Span, stages_of
    from hil.report.kinds import kind_of
    from hil.report.repeat import Deployed, Ran, software
    from hil.report.writer import Writer, replace_writer
    from hil.review import comparison, overview
    from hil.review.comparison_sides import read_side
    from hil.review.review_window import ReviewWindow
    from hil.signals.bench_pins import analyser_of, bench_pins
    from hil.signals.can.boards import can_port
    from hil.signals.can.bus import CanBus
    from hil.signals.choice import wiring_of
    from hil.signals.loop.loop import Loop
    from hil.signals.loop.result import LoopResult
    from hil.signals.pins import PinFault, Pins
    from hil.signals.trace.placing import Traceable
    from hil.stats.rates import Rate, rate
    from hil.wasm import Execution, Module, Runner, Samples
    from hil.wasm.compiled import compiled
    from hil.wasm.health_check import check_health
    from hil.wasm.loading import Loadable, load_module
    from hil.wasm.preopens import Preopen
    from hil.wasm.trees import read_tree, write_back
    from hil.wasm.verdict import Verdict
else:
    __getattr__ = lazy_names(__name__)
