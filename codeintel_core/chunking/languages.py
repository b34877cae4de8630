"""The languages: which file is written in which, and the grammar that parses it (loaded on first use, then cached)."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from codeintel_core.chunking.queries import DEFINITIONS, SCANS

if TYPE_CHECKING:
    import tree_sitter


@dataclass(frozen=True, slots=True)
class Language:
    """A language. Without a grammar its files are outlined by `sections.py` or cut by lines."""

    name: str
    grammar: str = ""
    """Key of the grammar in `queries.py`, '' for none."""
    data: bool = False
    """Data, markup or prose: what is between definitions is a block, not module code."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """A loaded grammar with its compiled query: the patterns of `DEFINITIONS` and those of `SCANS` in one pass.

    A pattern of `DEFINITIONS` has its number in the names of its captures (`@name.3`), because a pass that yields all
    captures by name is far cheaper than one that yields match by match.
    """

    language: tree_sitter.Language
    query: tree_sitter.Query
    kinds: tuple[str, ...]
    """What each pattern of `DEFINITIONS` defines."""


# name, grammar, data, file extensions, exact file names (lower case), interpreters of a `#!` line
_TABLE: tuple[tuple[str, str, bool, str, str, str], ...] = (
    ("python", "python", False, "py pyi pyw", "wscript sconstruct sconscript", "python pypy"),
    ("javascript", "javascript", False, "js mjs cjs", "", "node nodejs"),
    ("jsx", "javascript", False, "jsx", "", ""),
    ("typescript", "typescript", False, "ts mts cts", "", "deno ts-node bun"),
    ("tsx", "tsx", False, "tsx", "", ""),
    ("java", "java", False, "java", "", ""),
    ("go", "go", False, "go", "", ""),
    ("rust", "rust", False, "rs", "", ""),
    ("c", "c", False, "c h", "", ""),
    ("cpp", "cpp", False, "cpp cc cxx c++ hpp hh hxx h++ ipp inl tpp cu cuh", "", ""),
    ("csharp", "c_sharp", False, "cs csx", "", ""),
    ("ruby", "ruby", False, "rb rake gemspec ru", "rakefile gemfile guardfile vagrantfile podfile", "ruby"),
    ("php", "php", False, "php phtml", "", "php"),
    ("kotlin", "kotlin", False, "kt kts", "", "kotlin"),
    ("scala", "scala", False, "scala sc sbt", "", "scala"),
    ("swift", "swift", False, "swift", "", "swift"),
    ("bash", "bash", False, "sh bash ksh", ".bashrc .profile .bash_profile", "sh bash dash ksh"),
    ("sql", "sql", False, "sql ddl", "", ""),
    ("markdown", "", True, "md markdown mdx", "", ""),
    ("json", "json", True, "json jsonc json5 geojson webmanifest", ".babelrc .eslintrc .prettierrc composer.lock", ""),
    ("yaml", "", True, "yaml yml", ".clang-format", ""),
    ("toml", "toml", True, "toml", "cargo.lock poetry.lock uv.lock pipfile", ""),
    ("html", "html", True, "html htm xhtml", "", ""),
    ("css", "css", True, "css", "", ""),
    ("make", "", False, "mk mak", "makefile gnumakefile", "make"),
    ("dockerfile", "", False, "dockerfile", "dockerfile containerfile", ""),
    ("cmake", "", False, "cmake", "cmakelists.txt", ""),
    ("text", "", True, "txt text log", "license licence copying notice authors readme changelog", ""),
    ("rst", "", True, "rst rest", "", ""),
    ("ini", "", True, "ini cfg conf properties editorconfig", ".editorconfig .gitconfig", ""),
    ("gitignore", "", True, "", ".gitignore .dockerignore .npmignore .gitattributes", ""),
    ("protobuf", "", False, "proto", "", ""),
    ("graphql", "", False, "graphql gql", "", ""),
    ("xml", "", True, "xml xsd xsl pom csproj svg plist", "", ""),
    ("csv", "", True, "csv tsv", "", ""),
    ("scss", "", True, "scss sass less", "", ""),
    ("vue", "", True, "vue svelte", "", ""),
    ("lua", "", False, "lua", "", "lua"),
    ("perl", "", False, "pl pm", "", "perl"),
    ("r", "", False, "r", "", "rscript"),
    ("dart", "", False, "dart", "", ""),
    ("elixir", "", False, "ex exs", "", "elixir"),
    ("haskell", "", False, "hs", "", ""),
    ("julia", "", False, "jl", "", "julia"),
    ("objective-c", "", False, "m mm", "", ""),
    ("terraform", "", False, "tf tfvars hcl", "", ""),
    ("groovy", "", False, "groovy gradle", "jenkinsfile", "groovy"),
    ("powershell", "", False, "ps1 psm1", "", "pwsh"),
    ("batch", "", False, "bat cmd", "", ""),
    ("zsh", "", False, "zsh", ".zshrc", "zsh"),
    ("assembly", "", False, "s asm", "", ""),
    ("notebook", "", True, "ipynb", "", ""),
)
LANGUAGES: dict[str, Language] = {name: Language(name, grammar, data) for name, grammar, data, *_ in _TABLE}
"""Every named language."""
UNKNOWN = Language("", data=True)
"""A textual file of no known language."""
_BY_EXTENSION = {ext: LANGUAGES[row[0]] for row in _TABLE for ext in row[3].split()}
_BY_FILENAME = {name: LANGUAGES[row[0]] for row in _TABLE for name in row[4].split()}
_BY_INTERPRETER = {name: LANGUAGES[row[0]] for row in _TABLE for name in row[5].split()}
_MODULES = {
    "typescript": ("tree_sitter_typescript", "language_typescript"),
    "tsx": ("tree_sitter_typescript", "language_tsx"),
    "php": ("tree_sitter_php", "language_php"),
}
_CAPTURE = re.compile(r"@\w+")
_CPP_SIGNS = (b"namespace ", b"template<", b"template <", b"class ", b"public:", b"std::")


def language_of(path: str, data: bytes) -> Language:
    """Language of a file: by name, then extension, then the interpreter of its `#!` line."""
    name = path.rsplit("/", 1)[-1].lower()
    stem, _, extension = name.rpartition(".")
    found = _BY_FILENAME.get(name) or (_BY_EXTENSION.get(extension) if stem or not _ else None)
    if found is None:
        found = _BY_FILENAME.get(stem) or _of_shebang(data)  # Dockerfile.dev, then scripts without extension
    if extension == "h" and any(sign in data for sign in _CPP_SIGNS):
        return LANGUAGES["cpp"]
    return found or UNKNOWN


def _of_shebang(data: bytes) -> Language | None:
    if not data.startswith(b"#!"):
        return None
    words = data[2:256].split(b"\n", 1)[0].decode("latin-1").split()
    programs = [word.rsplit("/", 1)[-1] for word in words if not word.startswith("-")]
    program = next((word for word in programs if word != "env" and "=" not in word), "")
    return _BY_INTERPRETER.get(program.rstrip("0123456789."))


@cache
def grammar_of(name: str) -> Grammar:
    """The grammar of `Language.grammar`, imported on first use (grammars are native libraries of up to several MB)."""
    import tree_sitter

    module, function = _MODULES.get(name, (f"tree_sitter_{name}", "language"))
    language = tree_sitter.Language(getattr(importlib.import_module(module), function)())
    patterns = tree_sitter.Query(language, DEFINITIONS[name])
    numbered, kinds = [SCANS[name]], []
    for number in range(patterns.pattern_count):
        start, end = patterns.start_byte_for_pattern(number), patterns.end_byte_for_pattern(number)
        source = DEFINITIONS[name].encode()[start:end].decode()
        numbered.append(_CAPTURE.sub(rf"\g<0>.{number}", source))
        kinds.append(next(found for found in _CAPTURE.findall(source) if found not in ("@name", "@scope"))[1:])
    return Grammar(language, tree_sitter.Query(language, "\n".join(numbered)), tuple(kinds))
