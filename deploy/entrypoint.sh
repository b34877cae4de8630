#!/bin/sh
# Dagster reads its settings from DAGSTER_HOME: with a PostgreSQL URL they are the team's, else those that ship.
set -eu
mkdir -p "$DAGSTER_HOME"
if [ -n "${CODEINTEL_DAGSTER_DB:-}" ]; then settings=deploy/dagster.postgres.yaml; else settings=dagster.yaml; fi
# Copied aside and renamed: processes that share the home start at the same time.
cp "$settings" "$DAGSTER_HOME/.dagster.yaml.$$"
mv "$DAGSTER_HOME/.dagster.yaml.$$" "$DAGSTER_HOME/dagster.yaml"
exec "$@"
