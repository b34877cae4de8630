"""The harness: every query of a set through the real engine, ranked by document, once per way of ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from codeintel_core.embedding.contract import Encoder, Matrix
from codeintel_core.retrieval.channels import DENSE, LEXICAL
from codeintel_core.retrieval.engine import MAX_LIMIT, Ranking, SearchEngine
from codeintel_core.retrieval.modes import Mode
from codeintel_core.retrieval.priors import PRIORS
from codeintel_core.retrieval.tuning import UNTUNED, Tuned
from codeintel_core.scope import Scope
from codeintel_core.settings import Settings
from codeintel_pipelines.evaluation.metrics import Values, per_query
from codeintel_pipelines.evaluation.sets import EvaluationSet
from codeintel_pipelines.evaluation.throwaway import Index

_DEFAULT = Ranking()
_NO_PRIORS = frozenset(PRIORS)
_BUDGET_MS = 60_000


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of ranking, under the name it has in a table."""

    name: str
    ranking: Ranking = _DEFAULT
    mode: Mode = Mode.HYBRID
    tuned: Tuned = UNTUNED


HYBRID = "hybrid"
CHANNEL_VARIANTS = (
    Variant(LEXICAL, Ranking(without_priors=_NO_PRIORS), Mode.LEXICAL),
    Variant(DENSE, Ranking(without_priors=_NO_PRIORS), Mode.SEMANTIC),
    Variant("fused, no priors", Ranking(without_priors=_NO_PRIORS)),
    Variant(HYBRID),
)
"""Each channel alone, fused, and the default."""
TRAINED_PRIMARY = ", trained primary"
TRAINED = (
    Variant(DENSE + TRAINED_PRIMARY, Ranking(without_priors=_NO_PRIORS), Mode.SEMANTIC),
    Variant(HYBRID + TRAINED_PRIMARY),
)
"""Asked of an index whose vectors are searched approximately."""
ABLATIONS = (
    *(Variant(f"without {name}", Ranking(without_priors=frozenset({name}))) for name in PRIORS),
    Variant("without symbols channel", Ranking(without_channels=frozenset({"symbols"}))),
    Variant("lexical with priors", mode=Mode.LEXICAL),
    Variant("dense with priors", mode=Mode.SEMANTIC),
    Variant("with feedback (RM3)", Ranking(feedback=True)),
    Variant("lexical with priors and feedback", Ranking(feedback=True), Mode.LEXICAL),
    Variant("keeping copies", Ranking(collapse_copies=False)),
    Variant("fixed share .3", Ranking(lexical_share=0.3)),
    Variant("fixed share .5", Ranking(lexical_share=0.5)),
    Variant("fusion plain_scores", Ranking(fusion="plain_scores")),
    Variant("fusion rrf", Ranking(fusion="rrf")),
    Variant("fusion equal_rrf", Ranking(fusion="equal_rrf")),
)
"""One change to the default each."""


class RememberingEncoder:
    """An encoder that embeds each query once, however many variants ask it."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._queries: dict[str, Matrix] = {}
        self.contract = encoder.contract

    def encode_query(self, text: str) -> Matrix:
        """The query's vector."""
        if text not in self._queries:
            self._queries[text] = self._encoder.encode_query(text)
        return self._queries[text]

    def encode_documents(self, texts: Sequence[str]) -> Matrix:
        """Vectors of documents; not remembered."""
        return self._encoder.encode_documents(texts)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        return self._encoder.count_tokens(texts)


def evaluate(
    data: EvaluationSet, index: Index, encoder: Encoder, settings: Settings, variants: Sequence[Variant]
) -> dict[str, dict[str, Values]]:
    """Metrics per query (see `metrics.METRICS`) of every variant."""
    return {
        variant.name: per_query(rankings(data, index, encoder, settings, variant), data.qrels) for variant in variants
    }


def rankings(
    data: EvaluationSet, index: Index, encoder: Encoder, settings: Settings, variant: Variant
) -> dict[str, list[str]]:
    """Documents of each query, best first: a document ranks where its first chunk does."""
    wide = settings.model_copy(update={"retrieval_budget_ms": _BUDGET_MS})
    engine = SearchEngine(wide, lambda: encoder, variant.ranking, tuning=lambda: variant.tuned)
    found: dict[str, list[str]] = {}
    try:
        for query in data.queries:
            generations = [index.generations[query.repo]] if query.repo else list(index.generations.values())
            result = engine.search(query.text, generations, scope=Scope(), limit=MAX_LIMIT, mode=variant.mode)
            found[query.query_id] = list(dict.fromkeys(index.document_of[hit.chunk.chunk_id] for hit in result.hits))
    finally:
        engine.close()
    return found
