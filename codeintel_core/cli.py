"""The `codeintel` command: composes the commands of both sides from entry points, so neither knows the other."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import entry_points

import typer
from pydantic import ValidationError

from codeintel_core.errors import CodeIntelError
from codeintel_core.secrets import redact
from codeintel_core.settings import get_settings
from codeintel_core.telemetry.logs import SafeFormatter, keep_recent

EXIT_FAILED = 1


def build_app() -> typer.Typer:
    """The command with all subcommands of the installed sides."""
    app = typer.Typer(
        name="codeintel",
        help="Versioned, verified code search indexes of git repositories, and answers with cited code.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    for point in sorted(entry_points(group="codeintel.commands"), key=lambda p: p.name):
        app.add_typer(point.load())
    return app


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)  # on the handler: progress records pass their logger at INFO without being printed
    handler.setFormatter(SafeFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    keep_recent()


def main() -> None:
    """Run the command; expected errors become one line on stderr and exit code 1."""
    try:
        _log_to_stderr(get_settings().log_level)
        build_app()()
    except CodeIntelError as error:
        sys.stderr.write(f"error: {redact(str(error))[0]}\n")
        sys.exit(EXIT_FAILED)
    except ValidationError as error:
        problem = error.errors()[0]
        name = "_".join(str(part) for part in problem["loc"]).upper()
        sys.stderr.write(f"error: CODEINTEL_{name}: {problem['msg']}\n")
        sys.exit(EXIT_FAILED)
