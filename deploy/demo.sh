#!/usr/bin/env bash
# The whole product once: register, build through Dagster, ask, show the trace. Exits 0 only if all of it worked.
set -euo pipefail
repo=${REPO:-.}
question=${QUESTION:-How does publish switch CURRENT to the new generation?}
bin=${BIN:-.venv/bin}

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1. Register $repo"
name=$("$bin/codeintel" add "$repo" --json | "$bin/python" -c 'import json, sys; print(json.load(sys.stdin)["name"])')
echo "registered as '$name'"

say "2. Build and publish (Dagster job build_repository)"
"$bin/codeintel" build "$name"

say "3. Ask: $question"
"$bin/codeintel" answer --repo "$name" "$question"

say "4. The trace, in DuckDB (Dagster jobs compact_traces and refresh_analytics)"
"$bin/codeintel" analytics
"$bin/python" - "$CODEINTEL_HOME/analytics/codeintel.duckdb" <<'PYTHON'
import sys

import duckdb

with duckdb.connect(sys.argv[1], read_only=True) as db:
    row = db.execute(
        "SELECT trace_id, query, status, citations_verified, citations_dropped, round(total_ms) FROM answers "
        "WHERE operation = 'answer' ORDER BY asked_at DESC LIMIT 1"
    ).fetchone()
if row is None:
    sys.exit("the answer left no trace")
print("trace {} · {!r} · {} · {} citations verified, {} dropped · {:.0f} ms".format(*row))
if row[2] != "ok" or not row[3] or row[4]:
    sys.exit("the answer has no verified citation; ask about something that is in the repository")
PYTHON

say "It works. Next:"
cat <<TEXT
  Dagster UI      make dagster                     http://127.0.0.1:3000
  API and MCP     make serve                       http://127.0.0.1:8321/docs  and  /mcp
  Command line    $bin/codeintel search --repo $name "..."
  DuckDB          $bin/python -c "import duckdb; print(duckdb.connect('$CODEINTEL_HOME/analytics/codeintel.duckdb', read_only=True).sql('FROM answers'))"
TEXT
