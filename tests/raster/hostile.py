"""TIFF files that no library would write, byte by byte."""

import struct

SHORT, LONG, LONG8 = 3, 4, 16
_FORMATS = {SHORT: "H", LONG: "I", LONG8: "Q"}

GEO_TAGS = {
    33550: (12, (0.5, 0.5, 0.0)),  # ModelPixelScale
    33922: (12, (0.0, 0.0, 0.0, 500_000.0, 5_300_000.0, 0.0)),  # ModelTiepoint
    34735: (SHORT, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633)),  # GeoKeyDirectory: UTM 33N
}


def tiff(tags, *, order="<", big=False, next_directory=0, data=b"", pad_to=0):
    """A TIFF with one directory; `tags` maps number → (type, values). `data` follows the directory's arrays."""
    entry, inline, word = (20, 8, "Q") if big else (12, 4, "I")
    start = 16 if big else 8
    body_at = start + (8 if big else 2) + entry * len(tags) + (8 if big else 4)
    entries, body = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{'d' if kind == 12 else _FORMATS[kind]}", *values)
        if len(packed) <= inline:
            field = packed.ljust(inline, b"\0")
        else:
            field = struct.pack(order + word, body_at + len(body))
            body += packed + b"\0" * (len(packed) % 2)
        entries += struct.pack(f"{order}HH{word}", tag, kind, len(values)) + field
    count = struct.pack(order + ("Q" if big else "H"), len(tags))
    head = b"II" if order == "<" else b"MM"
    head += struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    whole = head + count + entries + struct.pack(order + word, next_directory) + body
    return whole.ljust(pad_to, b"\0") + data


def image_tags(height, width, *, bands=1, block=(None, None), offsets=(8,), sizes=(8,), **extra):
    """Tags of an uncompressed image in strips, or in tiles where `block` names their rows and columns."""
    tags = {
        256: (LONG, (width,)),
        257: (LONG, (height,)),
        258: (SHORT, (8,) * bands),
        259: (SHORT, (1,)),
        262: (SHORT, (2 if bands == 3 else 1,)),
        277: (SHORT, (bands,)),
        284: (SHORT, (1,)),
    }
    rows, cols = block
    if cols is None:
        tags |= {278: (LONG, (rows or height,)), 273: (LONG, offsets), 279: (LONG, sizes)}
    else:
        tags |= {322: (LONG, (cols,)), 323: (LONG, (rows,)), 324: (LONG, offsets), 325: (LONG, sizes)}
    return tags | {int(tag): value for tag, value in extra.items()}
