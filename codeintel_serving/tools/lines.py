"""Lines of many files at once."""

from __future__ import annotations

from collections.abc import Sequence

from codeintel_core.generations.generation import Generation


def texts_of(places: Sequence[tuple[Generation, str, int, int]]) -> list[str]:
    """Text of (generation, path, first line, last line) each, '' where it is not there; one git process each."""
    lines: dict[tuple[str, str], list[str]] = {}
    generations = {generation.repo: generation for generation, *_ in places}
    for repo, generation in generations.items():
        wanted = {path for at, path, *_ in places if at.repo == repo}
        files = [file for path in sorted(wanted) if (file := generation.file(path)) and not file.skip_reason]
        for file, data in generation.texts(files):
            lines[repo, file.path] = data.decode("utf-8", "replace").split("\n")
    return [
        "\n".join(lines.get((generation.repo, path), [])[start - 1 : end]) for generation, path, start, end in places
    ]
