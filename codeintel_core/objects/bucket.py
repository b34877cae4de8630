"""A bucket that speaks S3: conditional puts, uploads of files, ranges of objects, listings with times.

Credentials and region come from the standard variables (`AWS_ACCESS_KEY_ID`, …, or the machine's role). Errors name the
bucket and the server's first line. `obstore` is imported when a bucket is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from codeintel_core.errors import BucketUnavailable
from codeintel_core.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Store

_RETRIES = 3
_RETRY_S = 30
_CONNECT_S, _REQUEST_S = 5, 120
_PARALLEL = 8
_PART_BYTES, _MOST_PARTS, _PARTS_AT_ONCE = 8 << 20, 9_000, 3  # S3 takes 10,000 parts; each at once is in memory


@dataclass(frozen=True, slots=True)
class Entry:
    """What a listing says of an object."""

    size_bytes: int
    e_tag: str
    modified: datetime


class Bucket:
    """The objects below `s3://bucket/prefix`; every method raises `BucketUnavailable` when they cannot be had."""

    def __init__(self, url: str, *, endpoint: str = "", allow_http: bool = False, patience_s: int = 0) -> None:
        """With `patience_s`, what is not answered within it fails and is not tried again: for who comes back anyway."""
        self.url = url
        try:
            from obstore.store import S3Store
        except ImportError:
            raise BucketUnavailable(
                "a home in a bucket needs obstore, which is not installed: pip install 'codeintel[s3]'"
            ) from None
        name, _, prefix = url.removeprefix("s3://").partition("/")
        options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
        connect_s, request_s = min(_CONNECT_S, patience_s or _CONNECT_S), patience_s or _REQUEST_S
        client: Any = {"connect_timeout": f"{connect_s}s", "timeout": f"{request_s}s"}
        client |= {"allow_http": True} if allow_http else {}
        retries = 0 if patience_s else _RETRIES
        retry: Any = {"max_retries": retries, "retry_timeout": timedelta(seconds=patience_s or _RETRY_S)}
        with self._told():
            self._store: S3Store = S3Store(
                name, prefix=prefix or None, client_options=client, retry_config=retry, **options
            )  # fmt: skip

    @classmethod
    def of(cls, settings: Settings, *, patience_s: int = 0) -> Bucket:
        """The bucket of the settings, which name one."""
        return cls(
            settings.bucket_url, endpoint=settings.s3_endpoint, allow_http=settings.s3_allow_http,
            patience_s=patience_s,
        )  # fmt: skip

    def list(self, prefix: str, *, most: int | None = None) -> dict[str, Entry]:
        """Everything below a prefix, by key, or the `most` first of it."""
        with self._told():
            found = (meta for batch in self._store.list(prefix) for meta in batch)
            return {
                meta["path"]: Entry(meta["size"], meta["e_tag"] or "", meta["last_modified"])
                for meta in islice(found, most)
            }

    def get(self, key: str) -> tuple[bytes, str] | None:
        """Content and ETag of a small object, None when there is none."""
        with self._told():
            try:
                found = self._store.get(key)
                return bytes(found.bytes()), found.meta["e_tag"] or ""
            except FileNotFoundError:
                return None

    def read(self, key: str, start: int, length: int) -> bytes | None:
        """A range of an object, less where the object ends before; None when there is no such object."""
        from obstore.exceptions import BaseError

        with self._told():
            try:
                return bytes(self._store.get(key, options={"range": (start, start + length)}).bytes())
            except FileNotFoundError:
                return None
            except BaseError:
                if self._store.head(key)["size"] <= start:  # a server's way to say that nothing is there
                    return b""
                raise

    def put(self, key: str, data: bytes) -> None:
        """Write a small object, whatever was there."""
        with self._told():
            self._store.put(key, data, use_multipart=False)

    def create(self, key: str, data: bytes) -> bool:
        """Write a small object if there is none of that key; returns whether it was written."""
        return self._conditional(lambda: self._store.put(key, data, mode="create"))

    def replace(self, key: str, data: bytes, e_tag: str) -> bool:
        """Write a small object if it still has that ETag; returns whether it was written."""
        return self._conditional(lambda: self._store.put(key, data, mode={"e_tag": e_tag}))

    def upload(self, key: str, path: Path) -> None:
        """Write a file, in parts when it is large; nobody sees it before it is whole."""
        with self._told():
            part_bytes = max(_PART_BYTES, path.stat().st_size // _MOST_PARTS + 1)
            self._store.put(key, path, chunk_size=part_bytes, max_concurrency=_PARTS_AT_ONCE)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; what is not there is no error."""
        if wanted := list(keys):
            with self._told():
                self._store.delete(wanted)

    def check(self) -> str:
        """Write, replace and delete a probe under conditions; says what this machine may do.

        Raises:
            BucketUnavailable: no access, or a server that ignores conditions: two builds could both win.
        """
        from obstore.exceptions import PermissionDeniedError

        self.list("probe")
        key = f"probe/{uuid4().hex}"
        try:
            self.put(key, b"0")
        except BucketUnavailable as error:
            if isinstance(error.__cause__, PermissionDeniedError):
                return "may be read only: this machine can serve, but not build"
            raise
        try:
            self.delete([key])
            honoured = self.create(key, b"1") and not self.create(key, b"2")
            honoured = honoured and not self.replace(key, b"3", '"0"')
            found = self.get(key)
        finally:
            self.delete([key])
        if not honoured or found is None or found[0] != b"1":
            raise BucketUnavailable(f"{self.url}: its server ignores conditions (If-None-Match, If-Match) on puts")
        return "conditional writes work"

    def _conditional(self, write: Callable[[], object]) -> bool:
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        with self._told():
            try:
                write()
            except (AlreadyExistsError, PreconditionError, FileNotFoundError):  # the last: replaced after a deletion
                return False
            return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make any failure of the library one line that names the bucket."""
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            raise BucketUnavailable(f"{self.url} cannot be used: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What the library says, without the request and how long it took: the same each time."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return (lines[0].partition(" - ")[2] or lines[0])[:300]


def in_parallel(work: Callable[..., object], jobs: Iterable[tuple[object, ...]]) -> None:
    """Call `work` with each of the jobs, several at a time; the first failure ends it, and is raised."""
    with ThreadPoolExecutor(_PARALLEL) as pool:
        running = [pool.submit(work, *job) for job in jobs]
        try:
            for one in running:
                one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
