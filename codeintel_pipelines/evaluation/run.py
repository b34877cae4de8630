"""One evaluation set from a folder to its results: what `codeintel eval` and the benchmark call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from codeintel_core.embedding.local import LocalEncoder
from codeintel_core.home import Home
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation import sets
from codeintel_pipelines.evaluation.harness import ABLATIONS, CHANNEL_VARIANTS, RememberingEncoder, Variant, evaluate
from codeintel_pipelines.evaluation.report import Results
from codeintel_pipelines.evaluation.throwaway import indexed


def run(
    folder: Path, settings: Settings, *, corpus: Path | None = None, clones: Path | None = None, ablations: bool = False
) -> Results:
    """Index the set's corpus for the time of the call and evaluate every channel (and every ablation) on it.

    Raises:
        InvalidRequest: the folder is not an evaluation set.
    """
    data = sets.load(folder, corpus=corpus, clones=clones)
    local = LocalEncoder(Home(settings.home).models, settings.embedding_precision, settings.embedding_threads)
    encoder = RememberingEncoder(local)
    variants: Sequence[Variant] = (*CHANNEL_VARIANTS, *(ABLATIONS if ablations else ()))
    with indexed(data.documents, encoder, settings) as index:
        return evaluate(data, index, encoder, settings, variants)
