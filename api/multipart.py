"""Reading an uploaded file out of a multipart/form-data body piece by piece, never holding more than one piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from api.problems import FieldError, Invalid, Malformed, TooLarge, UnsupportedMediaType

MAX_FIELD_BYTES = 4096
FRAMING_BYTES = 64 * 1024  # boundaries, part headers and the other fields, on top of the file
MAX_FILENAME = 255


class FileUpload:
    """The one file of a form, and the form's short fields. Iterate :meth:`chunks` to the end, then read the rest.

    Args:
        request: its body has not been read.
        limit: largest file in bytes.
        fields: names of the short text fields that the form may have.
        file_field: name of the field that holds the file.

    Attributes:
        filename: last part of the file's name as the client gave it, at most 255 characters; ``None`` if it gave none.
        values: the short fields that came.
    """

    def __init__(self, request: Request, *, limit: int, fields: Collection[str], file_field: str = "file") -> None:
        media, options = parse_options_header(request.headers.get("content-type", ""))
        if media != b"multipart/form-data":
            raise UnsupportedMediaType(
                f"Upload the file as multipart/form-data, in a field named {file_field!r}; "
                f"for example: curl -F {file_field}=@images.zip …"
            )
        if b"boundary" not in options:
            raise Malformed("The multipart/form-data content type has no boundary.")
        self._check_declared_size(request.headers.get("content-length"), limit)
        self._request, self._limit, self._file_field = request, limit, file_field
        self._allowed = {*fields, file_field}
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._part_begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._part_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise Malformed(f"The form cannot be read: {error}.") from None
        self.filename: str | None = None
        self.values: dict[str, str] = {}
        self._texts: dict[str, bytearray] = {}
        self._name, self._value, self._disposition = b"", b"", b""
        self._field: str | None = None
        self._seen_file, self._ended = False, False
        self._size = 0
        self._pieces: list[bytes] = []

    @staticmethod
    def _check_declared_size(length: str | None, limit: int) -> None:
        """Refuse by the declared size at once. A smaller declaration is not believed: bytes are counted as well."""
        if length is not None and length.isdigit() and int(length) > limit + FRAMING_BYTES:
            raise TooLarge(f"The request declares {int(length)} bytes; the largest file accepted has {limit} bytes.")

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes.

        Raises:
            Malformed: the form is damaged, or ends before its end.
            TooLarge: more bytes than ``limit``.
            Invalid: no file, two files, an unknown or overlong field.
            ClientDisconnect: the client went away.
        """
        total = 0
        async for data in self._request.stream():
            total += len(data)
            if total > self._limit + FRAMING_BYTES:
                raise TooLarge(f"The largest file accepted has {self._limit} bytes.")
            try:
                self._parser.write(data)
            except FormParserError as error:
                raise Malformed(f"The form cannot be read: {error}.") from None
            for piece in self._pieces:
                yield piece
            self._pieces.clear()
        if not self._ended:
            raise Malformed("The form ends before its closing boundary.")
        if not self._seen_file:
            raise Invalid(errors=[FieldError(field=self._file_field, message="field required: the file to upload")])
        self.values = {name: self._text(name, bytes(raw)) for name, raw in self._texts.items()}

    @staticmethod
    def _text(field: str, raw: bytes) -> str:
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            raise Invalid(errors=[FieldError(field=field, message="is not UTF-8")]) from None
        if "\x00" in text:
            raise Invalid(errors=[FieldError(field=field, message="holds a NUL character")])
        return text

    # --- the parser's callbacks -------------------------------------------------------------------------------------

    def _part_begin(self) -> None:
        self._disposition, self._field = b"", None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            self._disposition = self._value
        self._name, self._value = b"", b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field not in self._allowed:
            raise Invalid(
                errors=[FieldError(field=field[:100], message="unknown form field", allowed=sorted(self._allowed))]
            )
        if field in self._texts or (field == self._file_field and self._seen_file):
            raise Invalid(errors=[FieldError(field=field, message="came twice; one request uploads one file")])
        self._field = field
        if field == self._file_field:
            self._seen_file = True
            name = options.get(b"filename", b"").decode("utf-8", "replace").replace("\\", "/").split("/")[-1]
            self.filename = "".join(c for c in name if c.isprintable())[-MAX_FILENAME:] or None
        else:
            self._texts[field] = bytearray()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._field == self._file_field:
            self._size += end - start
            if self._size > self._limit:
                raise TooLarge(f"The largest file accepted has {self._limit} bytes.")
            self._pieces.append(data[start:end])
        elif self._field is not None:
            text = self._texts[self._field]
            if len(text) + end - start > MAX_FIELD_BYTES:
                raise Invalid(
                    errors=[FieldError(field=self._field, message="too long", allowed={"maxLength": MAX_FIELD_BYTES})]
                )
            text += data[start:end]

    def _end(self) -> None:
        self._ended = True
