"""Parameters of a tool's command, from the fields of its request model and of the scope."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from codeintel_serving.models import ScopeModel
from codeintel_serving.tool_command import open_services
from codeintel_serving.tools.registry import load
from codeintel_serving.tools.tool import Tool

_SINGULAR = {"repos": "repo", "groups": "group", "paths": "path", "languages": "language"}


def command_of(name: str) -> TyperCommand:
    """The command that runs the tool and prints what it found; an option that is left out keeps the model's default."""
    tool = load(name)

    def command(**values: Any) -> None:
        from codeintel_serving import commands

        as_json, verbose = values.pop("as_json"), values.pop("verbose")
        given = {field: value for field, value in values.items() if value not in (None, [])}
        with open_services() as services:
            commands.show(services, tool, given, as_json, verbose)

    parameters = _parameters(tool)
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(add_completion=False)
    app.command(name)(command)
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand)
    return made


def _parameters(tool: Tool[Any, Any]) -> list[inspect.Parameter]:
    fields = {name: field for name, field in tool.request.model_fields.items() if name != "scope"}
    own_scope = {name: field for name, field in ScopeModel.model_fields.items() if name not in fields}
    found = [_parameter(name, fields[name], is_argument=True) for name in tool.positional]
    found += [_parameter(name, f, is_argument=False) for name, f in fields.items() if name not in tool.positional]
    found += [_parameter(name, field, is_argument=False) for name, field in own_scope.items()]
    found.append(_flag("as_json", "--json", "Print JSON."))
    found.append(_flag("verbose", "--verbose", "Show the stages on stderr."))
    return found


def _parameter(name: str, field: FieldInfo, *, is_argument: bool) -> inspect.Parameter:
    kind = _kind(field.annotation)
    annotation: Any
    if is_argument:
        annotation = Annotated[kind, typer.Argument(help=field.description)]
        default = inspect.Parameter.empty if field.is_required() else None
    else:
        option = "--" + _SINGULAR.get(name, name).replace("_", "-")
        declared = f"{option}/--no-{option.removeprefix('--').removeprefix('include-')}" if kind is bool else option
        maybe = kind | None
        annotation = Annotated[maybe, typer.Option(declared, help=field.description)]
        default = None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _flag(name: str, option: str, text: str) -> inspect.Parameter:
    annotation = Annotated[bool, typer.Option(option, help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation)


def _kind(annotation: Any) -> Any:
    """What the command line parses: whole numbers, flags, lists of texts and texts; the model checks the rest."""
    if get_origin(annotation) is list:
        return list[str]
    parts = get_args(annotation)
    if parts and not isinstance(annotation, type):  # a union, or a type with its limits
        return next((kind for kind in map(_kind, parts) if kind in (int, bool)), str)
    return annotation if annotation in (int, bool) else str
