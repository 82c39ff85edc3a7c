"""bgzip files with blocks of any size (SAM specification, section 4.1), which no library's writer makes."""

import struct
import zlib

BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


def bgzip(data: bytes, block: int = 20, *, level: int = 6) -> bytes:
    """The data in blocks of so many bytes, 65,536 at most: gzip members with their size in an extra field."""
    blocks = []
    for start in range(0, len(data), block):
        piece = data[start : start + block]
        packer = zlib.compressobj(level, zlib.DEFLATED, -15)
        body = packer.compress(piece) + packer.flush()
        head = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x06\x00BC\x02\x00"
        size = struct.pack("<H", len(body) + 25)
        blocks.append(head + size + body + struct.pack("<II", zlib.crc32(piece), len(piece)))
    return b"".join(blocks) + BGZIP_END
