"""CodeIntel core: what building and serving share; knows neither Dagster nor FastAPI."""

from importlib.metadata import version

__version__ = version("codeintel")
