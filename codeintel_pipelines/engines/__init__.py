"""Engines: where the heavy stages of a build run. In this process, in a pool of processes, or on a Ray cluster."""

from codeintel_pipelines.engines.driver import Engine, Ran, Work
from codeintel_pipelines.engines.select import engine_for

__all__ = ["Engine", "Ran", "Work", "engine_for"]
