"""The errors users see: one small hierarchy, each with a stable slug, a status and the fix in its message.

Raised where they are known and translated once at the edge: to a one-line message by the CLI, to RFC 9457
Problem Details by the API, to an `isError` result by MCP.
"""

from __future__ import annotations


class CodeIntelError(Exception):
    """Base of all expected errors; `str(error)` is one line that names the limit or the fix.

    Attributes:
        slug: stable identifier, documented in docs/problems.md.
        title: short human name of the kind of error.
        status: HTTP status code the API answers with.
    """

    slug = "internal"
    title = "Internal error"
    status = 500


class InvalidRequest(CodeIntelError):
    """An argument is malformed or outside its limits."""

    slug = "invalid-request"
    title = "Invalid request"
    status = 422


class InvalidName(InvalidRequest):
    """A repository name that cannot be a folder name on every platform."""

    slug = "invalid-name"
    title = "Invalid repository name"


class UnknownRepository(CodeIntelError):
    """No repository of that name is registered (or the caller may not see it)."""

    slug = "unknown-repository"
    title = "Unknown repository"
    status = 404


class UnknownScope(CodeIntelError):
    """No scope of that handle; expired, forged and another caller's handles have the same wording."""

    slug = "unknown-scope"
    title = "Unknown scope"
    status = 404


class Unauthorized(CodeIntelError):
    """The server has API keys and the request shows none that is valid."""

    slug = "unauthorized"
    title = "A key is needed"
    status = 401

    def __init__(self, message: str, *, was_given: bool = False) -> None:
        """`was_given`: a key was shown and refused."""
        super().__init__(message)
        self.was_given = was_given


class Forbidden(CodeIntelError):
    """The key is valid but lacks the permission."""

    slug = "forbidden"
    title = "Not permitted"
    status = 403

    def __init__(self, message: str, permission: str) -> None:
        super().__init__(message)
        self.permission = permission


class _Refused(CodeIntelError):
    """Nothing is wrong with the request: it may be sent again in `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(_Refused):
    """The caller sends more requests than its rate limit allows; `Retry-After` says when it may go on."""

    slug = "rate-limited"
    title = "Too many requests"
    status = 429


class Overloaded(_Refused):
    """The server works on as many requests of this kind as it can; `Retry-After` says when to try again."""

    slug = "overloaded"
    title = "Overloaded"
    status = 503


class UnknownFile(CodeIntelError):
    """No such file in the pinned commit; the wording is the same for hidden and missing files."""

    slug = "unknown-file"
    title = "Unknown file"
    status = 404


class UnknownRun(CodeIntelError):
    """No ledger is kept of that run (or the caller may not see it)."""

    slug = "unknown-run"
    title = "Unknown run"
    status = 404


class NotIndexed(CodeIntelError):
    """The repository is registered but no generation has been published yet."""

    slug = "not-indexed"
    title = "Nothing is indexed yet"
    status = 409


class InvalidRevision(CodeIntelError):
    """The revision does not name a commit of the repository."""

    slug = "invalid-revision"
    title = "Invalid revision"
    status = 400


class SourceUnavailable(CodeIntelError):
    """The source of a repository is not a readable git repository."""

    slug = "source-unavailable"
    title = "Source unavailable"
    status = 400


class GitFailed(CodeIntelError):
    """A git command failed or ran past its time or output limit."""

    slug = "git-failed"
    title = "git failed"


class NothingToIndex(CodeIntelError):
    """The commit holds no file that can be indexed."""

    slug = "nothing-to-index"
    title = "Nothing to index"
    status = 400


class BuildInProgress(CodeIntelError):
    """Another run is building this repository."""

    slug = "build-in-progress"
    title = "Build in progress"
    status = 409


class BuildFailed(CodeIntelError):
    """A build run ended without publishing a generation."""

    slug = "build-failed"
    title = "Build failed"


class PublishConflict(CodeIntelError):
    """CURRENT moved between planning and publishing; the build must be planned again."""

    slug = "publish-conflict"
    title = "Publish conflict"
    status = 409


class GenerationCorrupt(CodeIntelError):
    """A file of a generation does not match its manifest."""

    slug = "generation-corrupt"
    title = "Generation damaged"


class UnknownGeneration(CodeIntelError):
    """No generation of that id is kept."""

    slug = "unknown-generation"
    title = "Unknown generation"
    status = 404


class TuningRefused(CodeIntelError):
    """A tuning document is missing, damaged or of another format; the default weights are used."""

    slug = "tuning-refused"
    title = "Tuning refused"


class UnknownTuning(CodeIntelError):
    """No tuning document of that id is kept."""

    slug = "unknown-tuning"
    title = "Unknown tuning"
    status = 404


class StaleCursor(CodeIntelError):
    """A generation that the cursor's pages come from is no longer kept."""

    slug = "stale-cursor"
    title = "Stale cursor"
    status = 410


class InvalidPattern(CodeIntelError):
    """A pattern is not a regular expression that RE2 can run."""

    slug = "invalid-pattern"
    title = "Invalid pattern"
    status = 400


class ChannelUnavailable(CodeIntelError):
    """The retrieval channel that was asked for is off: nothing configures it, or no index holds it."""

    slug = "channel-unavailable"
    title = "Channel unavailable"
    status = 409


class ContractMismatch(CodeIntelError):
    """Vectors of two embedding contracts would be mixed."""

    slug = "contract-mismatch"
    title = "Embedding contract mismatch"


class ModelUnavailable(CodeIntelError):
    """A model (embedded or remote) cannot be loaded or reached."""

    slug = "model-unavailable"
    title = "Model unavailable"
    status = 503


class LexicalUnavailable(CodeIntelError):
    """The JVM or the Lucene index cannot be used."""

    slug = "lexical-unavailable"
    title = "Lexical search unavailable"
    status = 503


class DeadlineExceeded(CodeIntelError):
    """A stage ran past its deadline."""

    slug = "deadline-exceeded"
    title = "Deadline exceeded"
    status = 504


class RetrievalUnavailable(CodeIntelError):
    """Every retrieval channel failed; nothing was searched."""

    slug = "retrieval-unavailable"
    title = "Retrieval unavailable"
    status = 503


class StorageFailed(CodeIntelError):
    """The home folder cannot be read or written."""

    slug = "storage-failed"
    title = "Storage failed"


class BucketUnavailable(CodeIntelError):
    """The bucket that holds the home cannot be reached or used."""

    slug = "bucket-unavailable"
    title = "Bucket unavailable"
    status = 503


class VectorEngineUnavailable(CodeIntelError):
    """The external vector engine cannot be reached or used; the local files answer.

    Attributes:
        detail: what the server or its driver said, for those who run it; holds no password.
        is_lost: whether the server is gone, so that nothing that was known of it holds.
    """

    slug = "vector-engine-unavailable"
    title = "Vector engine unavailable"
    status = 503

    def __init__(self, message: str, detail: str = "", *, is_lost: bool = False) -> None:
        super().__init__(message)
        self.detail, self.is_lost = detail, is_lost
