"""One evaluation set from a folder to its results: what `codeintel eval` and the benchmark call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from codeintel_core.embedding.select import encoder_for
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation import sets
from codeintel_pipelines.evaluation.harness import (
    ABLATIONS,
    CHANNEL_VARIANTS,
    TRAINED,
    RememberingEncoder,
    Variant,
    evaluate,
)
from codeintel_pipelines.evaluation.report import Results
from codeintel_pipelines.evaluation.throwaway import indexed, with_trained_primary


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a set showed."""

    results: Results
    primaries: dict[str, str]
    """Repository -> the dense index of the rows in `harness.TRAINED`, in words."""


def run(
    folder: Path, settings: Settings, *, corpus: Path | None = None, clones: Path | None = None, ablations: bool = False
) -> Evaluated:
    """Index the set's corpus for the time of the call and evaluate every channel (and every ablation) on it.

    Vectors are searched exactly; then again through a trained primary, at the operating point a build would choose.

    Raises:
        InvalidRequest: the folder is not an evaluation set.
    """
    data = sets.load(folder, corpus=corpus, clones=clones)
    encoder = RememberingEncoder(encoder_for(settings, threads=settings.embedding_threads))
    variants: Sequence[Variant] = (*CHANNEL_VARIANTS, *(ABLATIONS if ablations else ()))
    with indexed(data.documents, encoder, settings) as index:
        exact = evaluate(data, index, encoder, settings, variants)
        with with_trained_primary(index, settings.dense_min_recall) as (trained, primaries):
            return Evaluated(exact | evaluate(data, trained, encoder, settings, TRAINED), primaries)
