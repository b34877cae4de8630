"""The budget: how deep each channel looks and which channels run, decided from the profile and the scope's size."""

from __future__ import annotations

from dataclasses import dataclass

from codeintel_core.retrieval.profile import QueryProfile

_VAGUE_FACTOR = 2
_WIDE_REPOSITORIES = 8
_WIDE_HYDRATED = 60


@dataclass(frozen=True, slots=True)
class Budget:
    """What a query may cost."""

    depth: int
    """Candidates asked of each channel."""
    hydrated: int
    """Most fused candidates that are read from the catalogs."""
    reason: str


def budget(profile: QueryProfile, *, candidates: int, repositories: int, limit: int) -> Budget:
    """Depth and hydration: vague questions look deeper; many repositories read fewer candidates each."""
    depth = candidates * (_VAGUE_FACTOR if profile.is_vague else 1)
    reason = "vague: twice as deep" if profile.is_vague else "usual depth"
    if repositories <= _WIDE_REPOSITORIES:
        return Budget(depth, 3 * depth, reason)
    # Nearly every candidate lies in another catalog, and each one opened costs a millisecond.
    return Budget(depth, max(_WIDE_HYDRATED, 2 * limit), f"{reason}; {repositories} repositories: fewer are read")
