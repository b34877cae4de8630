"""Which addresses settings may name: buckets, and endpoints by http(s), never link-local or metadata services."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
_METADATA_ADDRESSES = frozenset({"100.100.100.200", "fd00:ec2::254", "192.0.0.192"})
_BUCKET_URL = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}){0,20}")


def bucket_url(url: str) -> str:
    """`s3://bucket/prefix` without a trailing slash; raises `ValueError` when it is not of that form."""
    trimmed = url.rstrip("/")
    if not _BUCKET_URL.fullmatch(trimmed):
        raise ValueError(
            "home: in a bucket it is s3://bucket or s3://bucket/prefix, the prefix of A-Z a-z 0-9 _ - . and /"
        )
    return trimmed


def endpoint_url(url: str) -> str:
    """The base URL without a trailing slash.

    Raises:
        ValueError: another scheme than http or https, no host, user or password, query, fragment, or an address that
            is link-local or of a metadata service.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("the URL of an endpoint starts with http:// or https://")
    if not parts.hostname or port == 0:
        raise ValueError("the URL of an endpoint names a host, such as http://127.0.0.1:8000/v1")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("the URL of an endpoint holds no user, password, query or fragment; a key has a setting")
    if is_forbidden_host(parts.hostname):
        raise ValueError("link-local and metadata addresses are refused as endpoints")
    return url.rstrip("/")


def is_forbidden_host(host: str) -> bool:
    """Whether a host name or a literal address is link-local or a metadata service."""
    host = host.lower().rstrip(".").partition("%")[0]
    if host in _METADATA_NAMES:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast or str(mapped) in _METADATA_ADDRESSES
