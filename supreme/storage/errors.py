"""What can go wrong with files and objects, in three kinds, each message with the name and the remedy."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import dataclass

AGAIN = "run the same command again: finished parts are kept"


class StorageError(OSError):
    """A file or object could not be read or written; the message names it."""


class NotFound(StorageError):
    """There is no such file, object or bucket."""


class TooLarge(StorageError):
    """A file or object is larger than the caller allows; it was not read."""


class NotRegular(StorageError):
    """A pipe, socket or device stands where a file should."""


class OutsideFolder(StorageError):
    """A link leads out of the folder that may be read."""


class Unavailable(StorageError):
    """The storage does not answer, sends half a body, is full or refuses the credentials, after all retries.

    Storage errors are retried; if they persist, the stage fails and names file or bucket and key. They are
    never the fault of a record. The same command, run again, continues from what is finished.
    """


#: Of local and network file systems: not the fault of the file itself.
_TRANSIENT_ERRNO = (
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENETDOWN),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# S3 codes without underscores and in small letters: pyarrow writes SLOW_DOWN, the protocol SlowDown.
_LOST_CREDENTIALS = {
    *("expiredtoken", "invalidtoken", "tokenrefreshrequired", "invalidaccesskeyid", "signaturedoesnotmatch"),
    *("requesttimetooskewed", "invalidclienttokenid", "unrecognizedclient"),
}
_TRANSIENT = {
    *("slowdown", "slowdownread", "slowdownwrite", "serviceunavailable", "internalfailure", "internalerror"),
    *("requesttimeout", "throttling", "throttlingexception", "toomanyrequests", "networkconnection"),
    *("incompletebody", "baddigest", "operationaborted", "conditionalrequestconflict"),
}
_ARROW = re.compile(
    r"AWS Error (?P<code>[A-Z0-9_]+)(?: \(HTTP status (?P<status>\d+)\))?[^:]*: (?P<detail>.*)"
)
_UNKNOWN_CODE = re.compile(r"ExceptionName: (\w+)")


def of_file(path: str, error: OSError, needed: int = 0) -> StorageError:
    """An error of the local file system; ``needed``: bytes that were to be written, where known."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFound(f"{path}: not found")
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _FULL:
        return Unavailable(f"{path}: {reason}: {_room(path, needed)}; make room, then {AGAIN}")
    if error.errno in _TRANSIENT_ERRNO:
        return Unavailable(f"{path}: {reason}; {AGAIN}")
    if error.errno == errno.EROFS:
        return StorageError(f"{path}: {reason}; mount it for writing or give another place, then {AGAIN}")
    if isinstance(error, PermissionError):
        return StorageError(f"{path}: permission denied for user {os.geteuid()}")
    return StorageError(f"{path}: {reason}")


def _room(path: str, needed: int) -> str:
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    to_write = f"{needed:,} bytes to write, " if needed else ""
    return f"{to_write}{shutil.disk_usage(folder).free:,} free in {folder}"


@dataclass(frozen=True)
class Answer:
    """The error of an S3 server, or (status 0) why no answer came."""

    code: str
    status: int
    detail: str
    tried_again: bool = False
    """By the client itself."""

    @classmethod
    def of_arrow(cls, error: OSError) -> Answer:
        """Of pyarrow's S3 client, which tells it in the message alone.

        It has tried again by itself unless the code is unknown to it, as MinIO's `SlowDownRead` is.
        """
        if isinstance(error, FileNotFoundError):
            return cls("NoSuchKey", 404, "")
        match, unknown = _ARROW.search(str(error)), _UNKNOWN_CODE.search(str(error))
        if match is None:
            return cls("", 0, str(error))
        code = unknown[1] if unknown else match["code"]
        code = "Untrusted" if "curlCode: 60" in match["detail"] else code
        return cls(code, int(match["status"] or 0), match["detail"], tried_again=unknown is None)

    @property
    def plain(self) -> str:
        return self.code.replace("_", "").lower()

    @property
    def is_transient(self) -> bool:
        """Whether a retry may succeed."""
        return self.plain in _TRANSIENT or self.status in (408, 429) or self.status >= 500

    def __str__(self) -> str:
        number = str(self.status or "")
        return " ".join(part for part in (number, self.code) if part and part != "UNKNOWN") or self.detail


def of_s3(uri: str, store: str, answer: Answer) -> StorageError:
    """Only what the server says of this object is an error of it; all else is `Unavailable`.

    A record that could not be read because a token has expired is not a forbidden one.
    """
    where, plain = f"{uri} at {store}", answer.plain
    if plain in _LOST_CREDENTIALS:
        return Unavailable(f"{where}: the credentials were refused ({answer}); renew them, then {AGAIN}")
    if plain == "untrusted":
        return Unavailable(f"{where}: {answer.detail}; AWS_CA_BUNDLE names a file of certificates to trust")
    if plain == "notasked":
        return Unavailable(f"{where}: {answer.detail}; put it right, then {AGAIN}")
    if "quota" in plain or "storagefull" in plain:
        return Unavailable(f"{where}: the store is full ({answer}); make room, then {AGAIN}")
    if answer.is_transient:
        reason = f"{answer}: {answer.detail}".removesuffix(": ")
        return Unavailable(f"{where}: the store did not serve it ({reason}); {AGAIN}")
    if plain in ("preconditionfailed", "nosuchupload"):
        return Unavailable(f"{where}: somebody else replaced or removed it meanwhile ({answer}); {AGAIN}")
    if plain == "nosuchbucket":
        return NotFound(f"{where}: there is no such bucket; create it, or correct the name")
    if answer.status == 404 or plain in ("nosuchkey", "resourcenotfound"):
        return NotFound(f"{where}: not found")
    if answer.status == 403 or plain == "accessdenied":
        return StorageError(
            f"{where}: permission denied ({answer}): the credentials in the environment, or the bucket's "
            "policy, do not allow it (some stores also answer so for what is not there)"
        )
    if answer.status in (301, 307) or plain == "authorizationheadermalformed":
        return StorageError(f"{where}: the bucket is in another region: set AWS_REGION or add ?region=...")
    return StorageError(f"{where}: {answer.detail or answer}")
