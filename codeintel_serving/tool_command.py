"""A command made from a tool: its options are the fields of the request model, read when the command is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    from codeintel_core.settings import Settings
    from codeintel_serving.services import Services


class ToolCommand(TyperCommand):
    """The command of the tool that has its name; nothing is imported before its parameters are asked for."""

    _is_made = False

    def get_params(self, ctx: Any) -> Any:
        """The parameters, made from the tool's request model at the first look."""
        if not self._is_made:
            from codeintel_serving import tool_parameters

            assert self.name is not None
            made = tool_parameters.command_of(self.name)
            self.params, self.callback, self._is_made = made.params, made.callback, True
        return super().get_params(ctx)


def settings_of_home() -> Settings:
    """The settings, whose home exists; raises `NotIndexed` when it does not."""
    from codeintel_core.errors import NotIndexed
    from codeintel_core.settings import get_settings

    settings = get_settings()
    if not settings.home.is_dir():
        raise NotIndexed(f"there is no home at {settings.home}; run `codeintel add PATH_OR_URL` or set CODEINTEL_HOME")
    return settings


def open_services() -> Services:
    """Services over the configured home; raises `NotIndexed` when there is none."""
    from codeintel_serving.services import Services

    return Services(settings_of_home())
