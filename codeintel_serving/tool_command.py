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
    """The settings, whose home exists or is in a bucket; raises `NotIndexed` when it does not."""
    from codeintel_core.errors import NotIndexed
    from codeintel_core.settings import get_settings

    settings = get_settings()
    if not settings.bucket_url and not settings.home.is_dir():
        raise NotIndexed(f"there is no home at {settings.home}; run `codeintel add PATH_OR_URL` or set CODEINTEL_HOME")
    return settings


def open_services(*, follow: bool = True) -> Services:
    """Services over the configured home, brought up to date with its bucket when it is in one and with `follow`.

    Raises:
        NotIndexed: there is no home.
        BucketUnavailable: nothing of the bucket is here, and it cannot be used.
    """
    from codeintel_core.errors import BucketUnavailable
    from codeintel_serving.services import Services

    services = Services(settings_of_home())
    if follow and services.replica is not None:
        services.replica.follow_to_the_end()
        if services.replica.problem and not services.home.repository_names():
            services.close()
            raise BucketUnavailable(services.replica.problem)
    return services
