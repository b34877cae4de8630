"""The budget: how deep each channel looks and which channels run, decided from the profile and the scope's size."""

from __future__ import annotations

from dataclasses import dataclass

from codeintel_core.retrieval.profile import QueryKind, QueryProfile

_VAGUE_FACTOR = 2
_WIDE_REPOSITORIES = 8
_WIDE_HYDRATED = 60


@dataclass(frozen=True, slots=True)
class Budget:
    """What a query may cost."""

    depth: int
    """Candidates asked of each channel."""
    hydrated: int
    """Fused candidates that are read from the catalogs in any case."""
    hydrated_most: int
    """The same when they lie in few catalogs (see `gate`)."""
    reason: str
    feedback: bool
    """Whether RM3 may widen the query; the gate decides once the first pass is there."""
    feedback_reason: str


def budget(profile: QueryProfile, *, candidates: int, repositories: int, limit: int, feedback: bool = False) -> Budget:
    """Depth, hydration and feedback: vague questions look deeper; many repositories read fewer candidates each."""
    depth = candidates * (_VAGUE_FACTOR if profile.is_vague else 1)
    reason = "vague: twice as deep" if profile.is_vague else "usual depth"
    is_fed, why = _feedback(profile, repositories, feedback)
    if repositories <= _WIDE_REPOSITORIES:
        return Budget(depth, 3 * depth, 3 * depth, reason, is_fed, why)
    # Nearly every candidate may lie in another catalog, and each one opened costs a millisecond.
    least = max(_WIDE_HYDRATED, 2 * limit)
    return Budget(
        depth, least, max(depth, least), f"{reason}; {repositories} repositories: fewer are read", is_fed, why
    )


def _feedback(profile: QueryProfile, repositories: int, wanted: bool) -> tuple[bool, str]:
    if not wanted:
        return False, "lexical_feedback is off"
    if profile.kind is not QueryKind.NATURAL:
        return False, f"{profile.kind} query: asked as written"
    if repositories > _WIDE_REPOSITORIES:
        return False, f"{repositories} repositories"
    return True, "prose"
