"""The GPU clone of a primary index: asked for by a setting, never required; the CPU index answers when it fails."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

from codeintel_core.embedding.contract import Matrix

Wanted = Literal["auto", "cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Device:
    """Where an index is searched, and why not where the setting wanted it ('' when it is)."""

    name: Literal["cpu", "gpu"]
    reason: str = ""

    @property
    def text(self) -> str:
        """For status: `cpu`, `gpu`, or `cpu (why)`."""
        return f"{self.name} ({self.reason})" if self.reason else self.name


class GpuClone:
    """An index on a GPU; FAISS's GPU resources serve one search at a time."""

    def __init__(self, index: Any, resources: Any) -> None:
        self._index, self._resources = index, resources  # the index does not keep its resources alive
        self._lock = threading.Lock()

    def search(self, queries: Matrix, k: int, parameters: Any) -> tuple[Matrix, Any]:
        """Scores and positions, both (len(queries), k)."""
        with self._lock:
            found: tuple[Matrix, Any] = self._index.search(queries, k, params=parameters)
            return found


def clone(index: Any, wanted: Wanted) -> tuple[GpuClone | None, Device]:
    """A clone of `index` on the first GPU, with cuVS where this build of FAISS has it.

    Returns (None, device) when the index is to be searched on the CPU: because it is wanted so, because `auto` found
    no GPU, or because `gpu` failed; then the device carries the reason.
    """
    if wanted == "cpu":
        return None, Device("cpu")
    import faiss

    try:
        if wanted == "auto" and faiss.get_num_gpus() == 0:
            return None, Device("cpu")
        resources = faiss.StandardGpuResources()  # AttributeError in faiss-cpu
        # The default options take cuVS in the builds that have it. RuntimeError: no device, no memory, no such kind.
        cloned = faiss.index_cpu_to_gpu(resources, 0, index)
    except AttributeError:
        if wanted == "auto":
            return None, Device("cpu")
        return None, Device("cpu", "this FAISS is built for the CPU; install the extra `gpu`")
    except RuntimeError as error:
        why = (str(error).strip().splitlines() or ["unknown error"])[-1][:200]
        return None, Device("cpu", f"the GPU cannot be used: {why}")
    return GpuClone(cloned, resources), Device("gpu")
