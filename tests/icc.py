"""A colour profile of CMYK, by hand: none that may be copied is at hand, and its conversion has a closed form."""

import struct

import numpy as np


def black_alone() -> bytes:
    """A profile in which black ink alone darkens, L* = 100 (1 - K), and the other inks are invisible."""
    lab = np.empty((2, 2, 2, 2, 3), np.uint8)  # C, M, Y, K
    lab[..., 0, :] = (255, 128, 128)
    lab[..., 1, :] = (0, 128, 128)
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *np.eye(3, dtype=int).ravel() * 65536)
    table = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + 4 * ramp + lab.tobytes() + 3 * ramp
    white = struct.pack(">4s4x3i", b"XYZ ", *_D50)
    name = b"black alone\0"
    description = struct.pack(">4s4xI", b"desc", len(name)) + name + bytes(78)
    return _profile({b"desc": description, b"A2B0": table, b"wtpt": white, b"cprt": b"text\0\0\0\0none\0"})


def shown(black: float) -> float:
    """The grey level of sRGB, 0 to 255, that a share of black ink comes to by that profile."""
    lightness = 100 * (1 - black)
    linear = ((lightness + 16) / 116) ** 3 if lightness > 8 else lightness * 27 / 24389
    return 255 * (1.055 * linear ** (1 / 2.4) - 0.055 if linear > 0.0031308 else 12.92 * linear)


_D50 = [round(65536 * value) for value in (0.9642, 1.0, 0.8249)]


def _profile(tags: dict[bytes, bytes]) -> bytes:
    directory, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags.items():
        directory += struct.pack(">4sII", tag, start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    kind = struct.pack(">I4sI4s4s4s12x4s", start + len(body), b"none", 0x02100000, b"prtr", b"CMYK", b"Lab ", b"acsp")
    header = kind + bytes(28) + struct.pack(">3i", *_D50)
    return header.ljust(128, b"\0") + directory + body
