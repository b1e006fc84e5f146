"""What is written in a PDF that Chromium made; no more of PDF than that."""

import re
import unicodedata
import zlib

OBJECT = re.compile(rb"(\d+) 0 obj(.*?)endobj", re.DOTALL)
STREAM = re.compile(rb"stream\r?\n(.*?)\r?\nendstream", re.DOTALL)
SHOWN = re.compile(rb"/F(\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)>(?=[^<>]*T[jJ]|[^<>\n]*<)")
UNICODE = re.compile(rb"/ToUnicode (\d+) 0 R")
CODES = re.compile(rb"<([0-9A-F]+)> <([0-9A-F]+)>(?: <([0-9A-F]+)>)?", re.IGNORECASE)


def pages(pdf: bytes) -> int:
    """How many pages there are."""
    return len(re.findall(rb"/Type /Page\b", pdf))


def text(pdf: bytes) -> str:
    """All that is written, in the order of drawing, without spaces."""
    objects = {int(number): body for number, body in OBJECT.findall(pdf)}
    streams = {number: _stream(body) for number, body in objects.items()}
    fonts = {
        number: _letters(streams[int(found[1])])
        for number, body in objects.items()
        if (found := UNICODE.search(body))
    }
    shown = (_shown(stream, fonts) for stream in streams.values() if b" Tf" in stream)
    return re.sub(r"\s", "", unicodedata.normalize("NFKC", "".join(shown)))  # no ligatures


def _stream(body: bytes) -> bytes:
    found = STREAM.search(body)
    if not found:
        return b""
    return zlib.decompress(found[1]) if b"/FlateDecode" in body else found[1]


def _letters(cmap: bytes) -> dict[int, str]:
    """Glyph -> what it stands for."""
    letters = {}
    for first, last, start in CODES.findall(cmap[cmap.find(b"endcodespacerange") :]):
        if not start:
            letters[int(first, 16)] = bytes.fromhex(last.decode()).decode("utf-16-be")
            continue
        for place, glyph in enumerate(range(int(first, 16), int(last, 16) + 1)):
            letters[glyph] = chr(int(start, 16) + place)
    return letters


def _shown(stream: bytes, fonts: dict[int, dict[int, str]]) -> str:
    words, letters = [], dict[int, str]()
    for font, codes in SHOWN.findall(stream):
        if font:
            letters = fonts.get(int(font), {})
        words += [letters.get(int(codes[at : at + 4], 16), "") for at in range(0, len(codes), 4)]
    return "".join(words)
