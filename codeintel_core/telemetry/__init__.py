"""Telemetry: runs and steps (`run`, `step`, `note`), recorded as spans, ledger lines, logs and metrics at once."""

from codeintel_core.telemetry.conventions import Outcome, Status
from codeintel_core.telemetry.runs import Run, StepRecord, current_run, run
from codeintel_core.telemetry.steps import Step, note, step

__all__ = ["Outcome", "Run", "Status", "Step", "StepRecord", "current_run", "note", "run", "step"]
