"""What is collected while rows are brought in."""

from __future__ import annotations

import pytest

from codeintel_core.traces import journal, tables
from tests.core.objects.conftest import MakeMachine
from tests.core.objects.test_handover import DAY, collect, gathers, handover, in_bucket, stored, write

pytestmark = pytest.mark.e2e


def test_rows_whose_journal_went_before_the_table_was_made_are_brought_again(machine: MakeMachine) -> None:
    analyst, server = machine("analyst", collect_traces=True), machine("server")
    to = gathers(analyst)
    to.bring()
    write(server, "one")
    handover(server).run()
    brought = to.bring()
    (path,) = journal.files(analyst.home.trace_journal, DAY)
    path.unlink()  # by a collection that saw a newer table, which another process had begun before
    assert tables.compact(tables.traces(analyst.home), DAY).lost == 0
    to.let_go(brought.segments)
    assert len(in_bucket(server)) == 1
    collect(analyst)
    assert stored(analyst) == ["one"]
    assert in_bucket(server) == []
