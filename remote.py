"""Stores of objects (S3; GCS and Azure by the same code), through fsspec: addresses, tries again, what errors mean.

A store hiccups where a disk does not, and its errors and addresses can hold what must not be printed; both are dealt
with here once. Costs fsspec's import (0.1 s, with S3 1 s) where an address is remote, and nothing where none is.
"""

import errno
import os
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from .errors import ConfigError, RunError, missing_extra

T = TypeVar("T")

# The protocols that an output may have, each with the package that speaks it.
STORES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}
TRIES = 6
FIRST_WAIT = 1.0  # seconds before the second try, twice as many before each further one; up to half less at random
THREADS = 16  # of one process that ask a store at a time
READ_TIMEOUT = "MIDTRAIN_STORE_TIMEOUT"  # environment: seconds that a store may be silent
PATIENCE = "MIDTRAIN_STORE_PATIENCE"  # environment: seconds after which an operation is not begun again
SHIPPED = {READ_TIMEOUT: 60.0, PATIENCE: 90.0}
REQUEST_TRIES = 4  # botocore's own, of one request: waits of up to 1, 2 and 4 seconds between them
CREDENTIALS = (
    "give credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), or AWS_PROFILE and "
    "~/.aws/credentials, or an instance's role; AWS_ENDPOINT_URL names a store that is not Amazon's"
)
OTHER_CREDENTIALS = (
    "give the credentials that gcsfs and adlfs look for: GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_…"
)

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SECRET = re.compile(
    r"[?&;][^=&/]*(?:secret|password|passwd|token|signature|credential|sig|key)[^=&/]*=", re.IGNORECASE
)
_USER = re.compile(r"//[^/\s]*@")
_TRANSIENT = {"429", "InternalError", "ServiceUnavailable", "SlowDown", "Throttling", "ThrottlingException"}
_TRANSIENT |= {"TooManyRequests", "RequestTimeout", "RequestTimeoutException", "OperationAborted", "409"}
_TRANSIENT |= {"BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412"}
_WRONG = {"InvalidBucketName", "PermanentRedirect", "301", "AuthorizationHeaderMalformed"}
_OF_THIS_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS}
_NO_CREDENTIALS = {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
_NO_CREDENTIALS |= {"TokenRetrievalError", "SSOTokenLoadError", "UnauthorizedSSOTokenError", "DefaultCredentialsError"}
_FAILURES = (
    ("http.client", "HTTPException"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("botocore.parsers", "ResponseParserError"),
    ("aiohttp", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
)


@dataclass(frozen=True, order=True)
class RemotePath:
    """A place in a store: joined by `/` as a `Path` is, but without a method that would open anything.

    universal_pathlib's is not used: its paths open and stat by themselves, past the tries and errors of this module,
    and are no `Path` for a type checker either; of one without such methods it finds every place that does.
    """

    address: str

    def __truediv__(self, name: str) -> "RemotePath":
        return RemotePath(f"{self.address}/{name}")

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """What stands behind the last `/`."""
        return self.address.rpartition("/")[2]


def wrong_address(address: str) -> str:
    """What is wrong with a remote address: something secret in it, or no bucket; empty where nothing is.

    The text never holds any of the address.
    """
    protocol, _, rest = address.partition("://")
    bucket = rest.partition("/")[0]
    if _SECRET.search(address) or re.search(r"//[^@]*:[^@]*@", address):
        return "credentials must not stand in an address: every record and log would hold them"
    if protocol not in STORES:
        return ""
    if "@" in bucket and not protocol.startswith("abfs"):
        return "credentials must not stand in an address: every record and log would hold them"
    if not all(_BUCKET.fullmatch(part) for part in bucket.split("@")) and not bucket.startswith("arn:"):
        return "an address names a bucket, such as s3://bucket/folder"
    return ""


def setting(name: str) -> float:
    """Seconds, as the environment says or as shipped.

    Raises:
        ConfigError: it is no number.
    """
    text = os.environ.get(name, "")
    try:
        return float(text) if text else SHIPPED[name]
    except ValueError:
        raise ConfigError("is no number of seconds", where=name, seen=text) from None


def attempt(address: str, operation: Callable[[Any, str], T]) -> T:
    """What an operation returns, tried again where the store hiccups.

    botocore repeats single requests (statuses of 5xx, throttling, connections); what it does not is an answer whose
    body is cut, and it stops where a store is down for more than seconds. s3fs's own repetitions are off: they would
    multiply with botocore's, 25 times 60 s of silence for one read.

    Args:
        address: what it works on.
        operation: gets the filesystem and the address inside it.

    Raises:
        FileNotFoundError: there is no such object.
        FileExistsError: the object is not, or no longer, as a condition demands.
        ConfigError: no such bucket, no access, no credentials.
        RunError: the store failed again and again, or refused.
        OSError: this machine failed, such as a full disk.
    """
    filesystem, inside = opened(address)
    begun = time.monotonic()
    tries = 0
    while True:
        tries += 1
        try:
            return operation(filesystem, inside)
        except ValueError as error:  # of botocore, before anything is asked
            raise ConfigError(
                f"the store cannot be spoken to: {_said(error)}", where=address, fix=CREDENTIALS
            ) from None
        except _failures() as error:
            final = _final(error, address)
            if final is not None:
                raise final from None
            spent = time.monotonic() - begun
            if tries == TRIES or spent > setting(PATIENCE):
                raise RunError(
                    f"the store failed again and again for {spent:.0f} s; the last time: {_said(error)}",
                    where=address,
                    fix="see to the store or the network and run again: finished tasks are kept",
                ) from None
        time.sleep(random.uniform(0.5, 1.0) * FIRST_WAIT * 2 ** (tries - 1))


def opened(address: str) -> tuple[Any, str]:
    """The filesystem of an address, one a process (fsspec notices a fork), and the address inside it.

    Raises:
        ConfigError: the package is not installed, there is none for it, or the address holds something secret.
    """
    import fsspec

    if problem := wrong_address(address):
        raise ConfigError(problem)
    protocol = address.partition("://")[0]
    if "::" in address:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(address))
    try:
        filesystem = fsspec.filesystem(protocol, **_options(protocol))
    except ImportError as error:
        package = STORES.get(protocol)
        if package == "s3fs":
            raise missing_extra("s3fs", "s3", f"an address of {protocol}://") from None
        raise ConfigError(
            f"no reader for this address: {error}", where=address, fix=f"pip install {package}" if package else ""
        ) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"no reader for this address: {error}", where=address) from None
    if protocol == "s3":
        filesystem.retries = 1
    return filesystem, str(filesystem._strip_protocol(address))


def _options(protocol: str) -> dict[str, Any]:
    """How a store is spoken to: nothing is remembered of listings, and silence ends."""
    if protocol not in STORES:
        return {}
    options: dict[str, Any] = {"use_listings_cache": False}
    if protocol == "s3":
        from fsspec.config import conf

        options["config_kwargs"] = {
            "retries": {"mode": "standard", "total_max_attempts": REQUEST_TRIES},
            "connect_timeout": min(10.0, setting(READ_TIMEOUT)),
            "read_timeout": setting(READ_TIMEOUT),
            "max_pool_connections": 2 * THREADS,
            **conf.get("s3", {}).get("config_kwargs", {}),
        }
    return options


def _failures() -> tuple[type[Exception], ...]:
    """What the libraries that are loaded raise where a store fails."""
    found = [getattr(sys.modules[module], name) for module, name in _FAILURES if module in sys.modules]
    return (OSError, RuntimeError, *found)


def _final(error: Exception, address: str) -> Exception | None:
    """What a failure means where another try would not help, None where it may."""
    code, status = _answer(error)
    credentials = CREDENTIALS if address.startswith("s3:") else OTHER_CREDENTIALS
    if code == "NoSuchBucket":
        return ConfigError("there is no such bucket", where=address, fix="make it, or correct the address")
    if isinstance(error, FileNotFoundError):
        return FileNotFoundError(errno.ENOENT, "there is no such object", address)
    if type(error).__name__ == "FileExpired":
        return RunError("the file changed while it was read", where=address, fix="run again when it is complete")
    if code in _CHANGED or isinstance(error, FileExistsError):
        return FileExistsError(errno.EEXIST, "the object is not as it should be", address)
    if type(error).__name__ in _NO_CREDENTIALS:
        return ConfigError(f"no credentials for the store: {_said(error)}", where=address, fix=credentials)
    if isinstance(error, PermissionError) and (code or address):
        return ConfigError(f"the store refuses access: {_said(error)}", where=address, fix=credentials)
    if isinstance(error, OSError) and not code and error.errno in _OF_THIS_MACHINE:
        return error
    if isinstance(error, RuntimeError) and "closed" not in str(error):  # aiohttp's "Connection closed." is one
        return error
    if not code or status >= 500 or code in _TRANSIENT or code.startswith("5"):
        return None
    kind = ConfigError if code in _WRONG else RunError
    return kind(f"the store refuses: {_said(error)}", where=address)


def _answer(error: BaseException | None) -> tuple[str, int]:
    """The error code and the HTTP status of a store's answer, where an error comes from one."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", status)), int(status)
        error = error.__cause__
    return "", 0


def _said(error: Exception) -> str:
    """An error in a line, without what may be a secret in an endpoint's address."""
    code, _ = _answer(error)
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    text = _USER.sub("//…@", lines[0])[:300]
    return f"{text} ({code})" if code and code not in text else text
