"""Resources of the assets: the home folder with its settings, and the analysts' database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
from dagster import ConfigurableResource
from dagster_duckdb import DuckDBResource
from pydantic import Field

from codeintel_core.home import Home
from codeintel_core.locks import locked
from codeintel_core.settings import Settings, get_settings


class HomeResource(ConfigurableResource):  # type: ignore[type-arg]
    """The home folder."""

    root: str = Field(default="", description="Home folder; the setting CODEINTEL_HOME when empty.")

    @property
    def settings(self) -> Settings:
        """Settings of this process, with the home of this resource."""
        settings = get_settings()
        return settings.model_copy(update={"home": Path(self.root)}) if self.root else settings

    @property
    def home(self) -> Home:
        """Layout of the home folder."""
        return Home(self.settings.home)

    @contextmanager
    def scratch_database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory that spills to the home, for reports of any size; one run at a time."""
        spill = self.home.reports / ".spill"
        with (
            locked(self.home.reports / ".lock"),
            DuckDBResource(database=":memory:").get_connection() as connection,
            closing(connection),
        ):
            connection.execute("SET memory_limit = '2GB'")
            connection.execute("SET temp_directory = ?", [str(spill)])
            yield connection

    @contextmanager
    def rewrite_analytics(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Write a new `codeintel.duckdb` beside the old one and replace it, so that readers never wait.

        A run that comes meanwhile waits for its turn.
        """
        target = self.home.analytics
        pending = target.with_suffix(".next.duckdb")
        with locked(target.with_suffix(".lock")):
            pending.unlink(missing_ok=True)
            # DuckDBResource closes its connection only when the block ends well; `closing` also when it does not.
            with DuckDBResource(database=str(pending)).get_connection() as connection, closing(connection):
                yield connection
            pending.replace(target)
