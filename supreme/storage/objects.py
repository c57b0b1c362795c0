"""S3 objects: read whole in one request or at random, written so that there is none before it is complete."""

from __future__ import annotations

import hashlib
import io
from contextlib import closing, suppress
from typing import Any

from supreme.storage.errors import StorageError, TooLarge
from supreme.storage.s3 import Place, with_client

#: Of an upload; S3 allows 10,000 of them, no smaller than 5 MiB.
PART_BYTES = 16 * 2**20
#: The end of an object, read when it is opened: it tells the size, and holds the index of a Parquet file.
_TAIL_BYTES = 2**16


def read(place: Place, limit: int | None = None) -> bytes:
    """A whole object, in one request where nothing goes wrong."""

    def get(client: Any) -> bytes:
        answer = client.get_object(Bucket=place.bucket, Key=place.key)
        with closing(answer["Body"]) as body:
            if limit is not None and answer["ContentLength"] > limit:
                raise TooLarge(f"{place}: {answer['ContentLength']:,} bytes; at most {limit:,} are read")
            return bytes(body.read())  # raises when fewer bytes come than were announced

    return with_client(place, get)


def create(place: Place, content: bytes) -> bool:
    """Write an object where there is none; whether it was written."""
    from botocore.exceptions import ClientError

    def put(client: Any) -> bool:
        try:
            client.put_object(Bucket=place.bucket, Key=place.key, Body=content, IfNoneMatch="*")
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            # There is one; an earlier request of ours may have made it, with its answer lost.
            return read(place, limit=len(content) + 1) == content
        return True

    return with_client(place, put)


class Reader(io.RawIOBase):
    """An object for reading at random, one request a read; refuses one that changes meanwhile."""

    def __init__(self, place: Place) -> None:
        self.place, self.at = place, 0
        self.version: dict[str, str] = {}
        self.tail, self.size = self._get(f"-{_TAIL_BYTES}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a byte; the new place."""
        self.at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        return self.at

    def read(self, size: int = -1) -> bytes:
        """At most ``size`` bytes from here on, all the rest when negative: one request or none."""
        start, end = self.at, self.size if size < 0 else min(self.size, self.at + size)
        in_tail = start - (self.size - len(self.tail))
        if start >= end:
            return b""
        if in_tail >= 0:
            content = self.tail[in_tail : in_tail + end - start]
        else:
            content, _ = self._get(f"{start}-{end - 1}")
        self.at = end
        return content

    def _get(self, span: str) -> tuple[bytes, int]:
        """The bytes of a range, and the size of the whole."""
        from botocore.exceptions import ClientError

        def get(client: Any) -> tuple[bytes, int]:
            try:
                answer = client.get_object(
                    Bucket=self.place.bucket, Key=self.place.key, Range=f"bytes={span}", **self.version
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "InvalidRange":
                    return b"", 0  # it is empty
                raise
            with closing(answer["Body"]) as body:
                content = bytes(body.read())
            self.version = {"IfMatch": answer["ETag"]}
            return content, int(answer["ContentRange"].rpartition("/")[2])

        return with_client(self.place, get)


class Upload(io.RawIOBase):
    """An object in the making: there is none until :meth:`finish`."""

    def __init__(self, place: Place) -> None:
        self.place, self.buffer = place, bytearray()
        self.names: dict[str, str] = {"Bucket": place.bucket, "Key": place.key}
        self.parts: list[dict[str, Any]] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        """Take more content; a full part is sent."""
        self.buffer += content
        while len(self.buffer) >= PART_BYTES:
            self._send(bytes(self.buffer[:PART_BYTES]))
            del self.buffer[:PART_BYTES]
        return len(content)

    def finish(self) -> None:
        """Send the rest and give the object its name."""
        rest = bytes(self.buffer)
        if not self.parts:
            with_client(self.place, lambda client: client.put_object(**self.names, Body=rest))
            return
        if rest:
            self._send(rest)
        with_client(self.place, self._complete)

    def abandon(self) -> None:
        """Best effort: parts of an upload that is never finished are invisible, but take room."""
        if "UploadId" in self.names:
            with suppress(StorageError):
                with_client(self.place, lambda client: client.abort_multipart_upload(**self.names))

    def _send(self, part: bytes) -> None:
        if not self.parts:
            upload = with_client(self.place, lambda client: client.create_multipart_upload(**self.names))
            self.names["UploadId"] = upload["UploadId"]
        number = len(self.parts) + 1
        sent = with_client(
            self.place, lambda client: client.upload_part(**self.names, PartNumber=number, Body=part)
        )
        checksums = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        self.parts.append({"PartNumber": number, "ETag": sent["ETag"], **checksums})

    def _complete(self, client: Any) -> None:
        from botocore.exceptions import ClientError

        try:
            client.complete_multipart_upload(**self.names, MultipartUpload={"Parts": self.parts})
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchUpload" or not self._is_there(client):
                raise

    def _is_there(self, client: Any) -> bool:
        """Whether an earlier attempt to complete went well, and only its answer was lost."""
        hashes = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in self.parts)
        etag = client.head_object(Bucket=self.place.bucket, Key=self.place.key)["ETag"]
        return bool(etag.strip('"') == f"{hashlib.md5(hashes).hexdigest()}-{len(self.parts)}")
