"""Registration and mirroring: a repository is registered once and read only from its bare mirror afterwards."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from codeintel_core import watched
from codeintel_core.errors import (
    GitFailed,
    InvalidRequest,
    InvalidRevision,
    SourceUnavailable,
    StorageFailed,
)
from codeintel_core.home import Home, RepositoryHome, check_name, unknown_repository
from codeintel_core.repository.git import GitRepository, run_git
from codeintel_core.secrets import without_users

_log = logging.getLogger("codeintel.mirror")
_HEAD_REF = "refs/codeintel/head"
_BRANCH = re.compile(r"[^\s\x00-\x1f\x7f:*?\[\\^~]{1,250}")
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,100}")
_URL = re.compile(r"(https?|ssh|git|file)://|[\w.-]+@[\w.-]+:")


@dataclass(frozen=True, slots=True)
class Registration:
    """Where a repository comes from."""

    name: str
    source: str  # absolute path or URL
    branch: str  # '' follows the source's HEAD
    group: str = ""  # repositories of a group share a freshness target

    @property
    def is_local(self) -> bool:
        """Whether the source is a folder of this machine."""
        return _URL.match(self.source) is None


def registration(home: Home, name: str) -> Registration:
    """The registration of `name`; raises `UnknownRepository`."""
    try:
        return Registration(**json.loads(home.repository(name).registration.read_text()))
    except FileNotFoundError:
        raise unknown_repository(name, home.repository_names()) from None


def add(
    home: Home, source: str, *, name: str = "", branch: str = "", group: str = "", timeout_s: float = 600.0
) -> Registration:
    """Register a repository: fetch its mirror, check that it has a commit, then let it appear in the home.

    Adding the same source again refreshes the mirror, and moves it to `group` when one is given.

    Raises:
        SourceUnavailable: not a git repository, unreachable, or without a commit.
        InvalidRequest: the name is taken by another source.
        InvalidRevision: `branch` does not exist there.
    """
    if branch and (not _BRANCH.fullmatch(branch) or ".." in branch):
        raise InvalidRevision("a branch name has 1..250 characters, without blanks, '..' or any of : * ? [ \\ ^ ~")
    source = _resolve_source(source, timeout_s)
    if group and not _GROUP.fullmatch(group):
        raise InvalidRequest("a group has 1..100 of a-z A-Z 0-9 . _ -")
    entry = Registration(check_name(name or default_name(source)), source, branch, group)
    target = home.repository(entry.name)
    if target.registration.exists():
        known = registration(home, entry.name)
        if known.source != entry.source:
            raise InvalidRequest(
                f"'{entry.name}' is already registered for {without_users(known.source)}; choose another with --name"
            )
        if branch and branch != known.branch:
            raise InvalidRequest(
                f"'{entry.name}' already follows {known.branch or 'HEAD'}; add branch '{branch}' under another --name"
            )
        refresh(home, entry.name, timeout_s=timeout_s)
        if group and group != known.group:
            known = replace(known, group=group)
            _register(target, known)
        return known
    try:
        home.repos.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".adding-", dir=home.repos))
    except OSError as error:
        raise StorageFailed(f"cannot write to the home folder ({error.strerror}); set CODEINTEL_HOME") from None
    try:
        staged = RepositoryHome(partial)
        run_git(partial, ["init", "--bare", "--quiet", str(staged.mirror)], timeout_s=timeout_s)
        _fetch(staged.mirror, entry, timeout_s)
        _register(staged, entry)
        if target.root.exists():  # left by an interrupted add of an older version: it has no registration
            shutil.rmtree(target.root)
        partial.rename(target.root)
        watched.note_change()
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return entry


def _register(at: RepositoryHome, entry: Registration) -> None:
    pending = at.registration.with_suffix(".tmp")
    pending.touch(mode=0o600)  # a URL may hold a password
    pending.write_text(json.dumps(asdict(entry), indent=1) + "\n")
    pending.replace(at.registration)


def refresh(home: Home, name: str, *, timeout_s: float = 600.0) -> str:
    """Fetch the source into the mirror; returns the commit to build.

    A source that has vanished is a warning: the mirror keeps what was last seen of it.
    """
    entry = registration(home, name)
    mirror = home.repository(name).mirror
    try:
        _fetch(mirror, entry, timeout_s)
    except SourceUnavailable as error:
        _log.warning("%s: %s; building from the mirror", name, error)
    return head(home, name)


def head(home: Home, name: str) -> str:
    """The last fetched commit of the followed branch; fetches nothing."""
    try:
        return GitRepository(home.repository(name).mirror).resolve(_HEAD_REF)
    except InvalidRevision:
        raise SourceUnavailable(f"'{name}' has no commit yet; commit something and add it again") from None


def is_at(home: Home, name: str, commit: str) -> bool:
    """Whether the last fetched commit is `commit`, as far as a look at one small file tells; False leaves it open.

    Starting git takes milliseconds, and a question about hundreds of repositories asks this of each.
    """
    try:
        return (home.repository(name).mirror / _HEAD_REF).read_text().strip() == commit
    except (OSError, UnicodeDecodeError):  # packed, or there is no mirror: git knows
        return False


def source_head(home: Home, name: str, *, timeout_s: float) -> str:
    """The commit that the source's followed branch is at now; fetches nothing.

    Raises:
        SourceUnavailable: it cannot be asked within the limit, or has no such branch.
    """
    entry = registration(home, name)
    wanted = f"refs/heads/{entry.branch}" if entry.branch else "HEAD"
    try:
        if entry.is_local:
            return GitRepository(Path(entry.source), timeout_s).resolve(wanted)
        out = run_git(
            home.repository(name).mirror, ["ls-remote", "--end-of-options", entry.source, wanted], timeout_s=timeout_s
        )
    except (GitFailed, InvalidRevision) as error:
        why = without_users(f"cannot ask {entry.source} for its head: {error}")
        raise SourceUnavailable(why) from None
    lines = [line.split("\t") for line in out.decode("utf-8", "replace").splitlines()]
    heads = [line[0] for line in lines if len(line) == 2 and line[1] == wanted]
    if not heads:
        raise SourceUnavailable(f"{without_users(entry.source)} has no {entry.branch or 'HEAD'}")
    return heads[0]


def _fetch(mirror: Path, entry: Registration, timeout_s: float) -> None:
    wanted = f"refs/heads/{entry.branch}" if entry.branch else "HEAD"
    fetch = ["fetch", "--quiet", "--prune", "--no-write-fetch-head", "--update-shallow", "--no-auto-gc"]
    refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", f"+{wanted}:{_HEAD_REF}"]
    try:
        run_git(mirror, [*fetch, "--end-of-options", entry.source, *refs], timeout_s=timeout_s)
    except GitFailed as error:
        message = str(error)
        if "couldn't find remote ref refs/heads/" in message:
            raise InvalidRevision(f"{without_users(entry.source)} has no branch '{entry.branch}'") from None
        if "couldn't find remote ref HEAD" in message:
            raise SourceUnavailable(
                f"{without_users(entry.source)} has no commit yet; commit something and add it again"
            ) from None
        raise SourceUnavailable(f"cannot fetch {without_users(entry.source)}: {without_users(message)}") from None


def _resolve_source(source: str, timeout_s: float) -> str:
    if not source or source.startswith("-") or "\0" in source:
        raise SourceUnavailable("give the path or URL of a git repository")
    if _URL.match(source):
        return source
    if "://" in source or "::" in source:
        raise SourceUnavailable(
            f"{source.split(':', maxsplit=1)[0]}: is not a supported scheme; use https, ssh, git or a path"
        )
    try:
        path = Path(source).expanduser().absolute()
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:  # RuntimeError: `~name` of nobody
        raise SourceUnavailable(f"{source[:300]} cannot be read; check its permissions ({error})") from None
    if not path.exists():
        raise SourceUnavailable(f"{path} does not exist; give the path or URL of a git repository")
    if is_folder and not os.access(path, os.R_OK | os.X_OK):
        raise SourceUnavailable(f"{path} cannot be read; check its permissions")
    try:
        root = _root(path, timeout_s)
    except GitFailed as error:
        if "dubious ownership" in str(error):
            raise SourceUnavailable(f"{path} belongs to another user; chown it or add a clone of it") from None
        raise SourceUnavailable(f"{path} is not a git repository; run `git init` and commit, or give another") from None
    if root.resolve() != path.resolve():
        raise SourceUnavailable(f"{path} is a folder inside the repository {root}; add that one")
    return str(root)


def _root(path: Path, timeout_s: float) -> Path:
    """The work tree, or the git folder of a bare repository, that `path` lies in; raises `GitFailed`."""

    def ask(question: str) -> str:
        answer = run_git(path, ["rev-parse", "--path-format=absolute", question], timeout_s=timeout_s)
        return os.fsdecode(answer.removesuffix(b"\n"))

    if ask("--is-bare-repository") == "true":
        return Path(ask("--git-common-dir"))
    if ask("--is-inside-git-dir") == "true":
        return Path(ask("--git-common-dir")).parent
    return Path(ask("--show-toplevel"))


def default_name(source: str) -> str:
    """A repository name from the last part of a path or URL."""
    last = re.split(r"[/:\\]", source.rstrip("/").removesuffix("/.git"))[-1].removesuffix(".git")
    return re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._") or "repository"
