"""What a query may see: repositories, path globs, languages, classes of file.

One meaning of a glob everywhere: it is translated once to a regular expression of the common subset that RE2
(DuckDB, Python) and Lucene understand alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from codeintel_core.errors import InvalidRequest

MAX_GLOBS = 100
MAX_GLOB_CHARS = 300
MAX_LANGUAGES = 100
_MAX_STARS = 20

TEST_CLASSES = frozenset({"test"})
GENERATED_CLASSES = frozenset({"generated", "vendored", "minified"})


@dataclass(frozen=True, slots=True)
class Scope:
    """A filter that holds inside every channel and is checked again at hydration. Empty means everything."""

    repos: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    include_tests: bool = True
    include_generated: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be meant; raises `InvalidRequest`."""
        if len(self.paths) > MAX_GLOBS:
            raise InvalidRequest(f"scope.paths has {len(self.paths)} globs; the limit is {MAX_GLOBS}")
        if len(self.languages) > MAX_LANGUAGES:
            raise InvalidRequest(f"scope.languages has {len(self.languages)} items; the limit is {MAX_LANGUAGES}")
        try:
            "".join((*self.repos, *self.paths, *self.languages)).encode()
        except UnicodeEncodeError:  # a lone surrogate, which neither Lucene nor DuckDB takes
            raise InvalidRequest("the scope holds text that is not valid Unicode") from None
        for glob in self.paths:
            glob_to_regex(glob)

    @property
    def excluded_classes(self) -> tuple[str, ...]:
        """File classes this scope leaves out, sorted."""
        excluded: frozenset[str] = frozenset()
        if not self.include_tests:
            excluded |= TEST_CLASSES
        if not self.include_generated:
            excluded |= GENERATED_CLASSES
        return tuple(sorted(excluded))

    @property
    def filters_chunks(self) -> bool:
        """Whether this scope filters inside a repository (and not only between repositories)."""
        return bool(self.paths or self.languages or self.excluded_classes)

    def path_regex(self) -> str:
        """One anchored regular expression for all globs ('' when there are none)."""
        return "|".join(f"({glob_to_regex(glob)})" for glob in self.paths)


def glob_to_regex(glob: str) -> str:
    """Translate a glob over `/`-separated paths: `**` any folders, `*` and `?` within one, all else literal.

    A glob that ends in `/` means everything below that folder. Brackets and braces are literal characters.

    Raises:
        InvalidRequest: empty, longer than 300 characters, or more than 20 stars.
    """
    if not glob or len(glob) > MAX_GLOB_CHARS or "\0" in glob:
        raise InvalidRequest(f"a path glob has 1..{MAX_GLOB_CHARS} characters and no NUL")
    if glob.count("*") > _MAX_STARS:
        raise InvalidRequest(f"a path glob has at most {_MAX_STARS} stars")
    if glob.endswith("/"):
        glob += "**"
    out: list[str] = []
    i = 0
    while i < len(glob):
        if glob.startswith("**/", i):
            out.append("([^/]*/)*")
            i += 3
        elif glob.startswith("**", i):
            out.append("([^/]|/)*")  # a dot leaves out newlines in some engines
            i += 2
        elif glob[i] == "*":
            out.append("[^/]*")
            i += 1
        elif glob[i] == "?":
            out.append("[^/]")
            i += 1
        else:
            is_plain = glob[i].isalnum() or glob[i] in "/_" or not glob[i].isascii()  # RE2 refuses other escapes
            out.append(glob[i] if is_plain else "\\" + glob[i])
            i += 1
    return "".join(out)
