#!/usr/bin/env bash
# Runs the official MCP conformance suite and a smoke test of the official inspector against a real server over a small
# index. Needs npm and its registry; installs Node 22 and the tools below .conformance/ (ignored by git).
# Exit code 3: it cannot run here, and says why.
set -euo pipefail
cd "$(dirname "$0")/../.."
BIN="${BIN:-.venv/bin}"
PLACE="${PLACE:-$PWD/.conformance}"
command -v curl >/dev/null || { echo "conformance: curl is not installed" >&2; exit 3; }
command -v npm >/dev/null || { echo "conformance: npm is not installed; install Node.js with npm" >&2; exit 3; }
mkdir -p "$PLACE"
cp tests/conformance/package.json "$PLACE/package.json"
(cd "$PLACE" && npm install --silent --no-audit --no-fund) || {
  echo "conformance: npm cannot install its tools; is its registry reachable?" >&2
  exit 3
}
export PATH="$PLACE/node_modules/node/bin:$PATH"
export CODEINTEL_HOME="$PLACE/home" DAGSTER_HOME="$PLACE/home/dagster"
SOURCE="$PLACE/source"
if [ ! -d "$SOURCE" ]; then
  git init --quiet --initial-branch=main "$SOURCE"
  printf 'def parse_config(path):\n    """Load settings."""\n    return open(path).read()\n' >"$SOURCE/config.py"
  git -C "$SOURCE" add --all
  git -C "$SOURCE" -c user.name=test -c user.email=test@example.org commit --quiet --message="config"
  "$BIN/codeintel" add "$SOURCE" --name source
fi
"$BIN/codeintel" build source
PORT="$("$BIN/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
"$BIN/codeintel" serve --port "$PORT" &
SERVER=$!
trap 'kill "$SERVER" 2>/dev/null || true' EXIT
until curl -sf "http://127.0.0.1:$PORT/livez" >/dev/null; do
  kill -0 "$SERVER" || { echo "conformance: the server did not start" >&2; exit 1; }
  sleep 0.2
done
URL="http://127.0.0.1:$PORT/mcp"
"$PLACE/node_modules/.bin/conformance" server --url "$URL" -o "$PLACE/results" \
  --expected-failures tests/conformance/expected-failures.yml
inspect() { "$PLACE/node_modules/.bin/mcp-inspector" --cli "$URL" --transport http --method "$@"; }
inspect tools/list >"$PLACE/listed.json"
inspect tools/call --tool-name status >"$PLACE/called.json"
"$BIN/python" - "$PLACE/listed.json" "$PLACE/called.json" <<'PYTHON'
import json, pathlib, sys
from codeintel_serving.mcp.runs import NAMES
from codeintel_serving.tools.registry import SUMMARIES
listed, called = (json.loads(pathlib.Path(name).read_text()) for name in sys.argv[1:])
assert [tool["name"] for tool in listed["tools"]] == [*SUMMARIES, *NAMES], "the inspector lists other tools"
assert called["structuredContent"]["repositories"], "the inspector's call of `status` found no repository"
print(f"inspector: {len(listed['tools'])} tools listed, `status` called")
PYTHON
