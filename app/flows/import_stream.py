"""A stream of items, one JSON object a line: what has arrived is in the queue, wherever the stream breaks off."""

import base64
import binascii
import io

from pydantic import ValidationError

from app.errors import InvalidRequest, TooLarge
from app.flows.receive import Sent
from app.schemas import ItemWords, StreamItem, plain_filename

WORDS_BYTES = 64 * 2**10  # room on a line beside the picture


class Lines:
    """Cuts chunks of bytes into lines of at most `longest` bytes; empty ones are passed over."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._parts: list[bytes] = []  # of the line that is not complete; joined once, not at each chunk
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, up to one that is too long."""
        first, *others = chunk.split(b"\n")
        self._keep(first)
        lines = []
        for part in others:
            if self._size > self._longest:
                break
            lines.append(self._take())
            self._keep(part)
        return [line for line in lines if line.strip()]

    def end(self) -> list[bytes]:
        """The last line, if it has no end of its own."""
        line = self._take()
        return [line] if line.strip() else []

    def check(self) -> None:
        """Raises: TooLarge, when the line under way is too long already."""
        if self._size > self._longest:
            raise TooLarge(f"A line has more than {self._longest:,} bytes.")

    def _keep(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)

    def _take(self) -> bytes:
        line = b"".join(self._parts)
        self._parts, self._size = [], 0
        return line


def longest_line(max_upload_bytes: int) -> int:
    """Bytes of a line that holds the largest accepted file in base64, four characters for three bytes."""
    return max_upload_bytes * 4 // 3 + WORDS_BYTES


def read_line(line: bytes, number: int) -> Sent:
    """An item; one that says what is wrong if this is none."""
    try:
        item = StreamItem.model_validate_json(line)
        image = None if item.image_base64 is None else base64.b64decode(item.image_base64, validate=True)
    except ValidationError as error:
        where = error.errors()[0]
        reason = f"{'.'.join(map(str, where['loc']))}: {where['msg']}".removeprefix(": ")
        return Sent(f"line {number}", error=InvalidRequest(reason))
    except binascii.Error:
        return Sent(f"line {number}", error=InvalidRequest("image_base64 is not base64."))
    words = item.model_dump(mode="json", include=set(ItemWords.model_fields), exclude_none=True)
    words["item_id"] = item.id or item.item_id
    words["filename"] = plain_filename(item.image_filename)
    name = words["filename"] or item.id or f"line {number}"
    return Sent(name, None if image is None else io.BytesIO(image), words)
