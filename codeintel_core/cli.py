"""The `codeintel` command: composes the commands of both sides from entry points, so neither knows the other."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

import typer

from codeintel_core.errors import CodeIntelError

EXIT_FAILED = 1


def build_app() -> typer.Typer:
    """The command with all subcommands of the installed sides."""
    app = typer.Typer(
        name="codeintel",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        add_completion=False,
        rich_markup_mode=None,  # importing rich takes longer than everything else that help needs
        context_settings={"max_content_width": 120},
        callback=_log_to_stderr,
        help="Versioned, verified code search indexes of git repositories, and answers with cited code.",
    )
    for point in sorted(entry_points(group="codeintel.commands"), key=lambda p: p.name):
        app.add_typer(point.load())
    return app


def _log_to_stderr() -> None:
    """Before any command, not before help: what it imports is most of what a command needs."""
    import logging

    from codeintel_core.settings import get_settings
    from codeintel_core.telemetry.logs import SafeFormatter, keep_recent

    level = get_settings().log_level
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)  # on the handler: progress records pass their logger at INFO without being printed
    handler.setFormatter(SafeFormatter())
    logging.basicConfig(level=level, handlers=[handler])
    keep_recent()


def main() -> None:
    """Run the command; expected errors become one line on stderr and exit code 1."""
    try:
        build_app()()
    except Exception as error:
        sys.stderr.write(f"error: {_expected(error)}\n")
        sys.exit(EXIT_FAILED)


def _expected(error: Exception) -> str:
    """The line for an error that is no defect of ours; raises the others again."""
    from pydantic import ValidationError

    if isinstance(error, CodeIntelError):
        from codeintel_core.secrets import redact

        return redact(str(error))[0]
    if isinstance(error, ValidationError):  # of a setting
        problem = error.errors()[0]
        name = "".join(f"CODEINTEL_{part}: ".upper() for part in problem["loc"][:1])  # '' of several settings together
        return f"{name}{problem['msg']}"
    raise error
