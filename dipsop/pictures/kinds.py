"""What kind of file it is, by its first bytes."""

from dipsop.errors import ImageError
from dipsop.pictures.refusals import refuse_animation, refuse_raw

HEAD = 64  # bytes that say it

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"RIFF": "WEBP",
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip
# Of Fujifilm, Olympus, Panasonic, Sigma, Minolta and Canon.
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR")
# Those that are TIFF files: the first directory of many is a small preview, which nobody wants restored.
RAW_SUFFIXES = (".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dng", ".erf", ".fff", ".iiq", ".kdc", ".mrw", ".nef", ".nrw",
                 ".orf", ".pef", ".raf", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f")  # fmt: skip
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"miaf"}


def kind_of(head: bytes, name: str) -> str:
    """Say what kind of picture file begins with these bytes.

    Parameters
    ----------
    head : bytes
        The first HEAD of the file.
    name : str
        How to call it in an error; its suffix tells raw files from other TIFF files.

    Returns
    -------
    str
        PNG, JPEG, BMP, WEBP, TIFF, HEIC or AVIF.

    Raises
    ------
    ImageError
        It is another kind of file, with what to do where it is a GIF, a film or a camera's raw file.
    """
    kind = next((kind for signature, kind in _SIGNATURES.items() if head.startswith(signature)), None)
    if head[4:8] == b"ftyp":
        kind = _kind_of_container(head, name)
    elif kind == "WEBP" and head[8:12] != b"WEBP":
        kind = None
    elif head.startswith((b"GIF87a", b"GIF89a")):
        refuse_animation("a GIF, which has frames of 256 colours", name)
    if head.startswith(_RAW) or (kind == "TIFF" and head[8:10] == b"CR"):
        refuse_raw(name)
    if kind in (None, "TIFF") and name.lower().endswith(RAW_SUFFIXES):
        refuse_raw(name)
    if kind is None:
        raise ImageError(
            f"{name} is not a picture that can be read: give a PNG, JPEG, TIFF, WebP, BMP, HEIC or AVIF file."
        )
    return kind


def _kind_of_container(head: bytes, name: str) -> str | None:
    """What the box at the beginning of an ISO base media file says: its brand, and those that it is compatible with."""
    brands = [head[at : at + 4] for at in range(8, min(len(head), int.from_bytes(head[:4])), 4) if at != 12]
    if b"crx " in brands[:1]:
        refuse_raw(name)
    if brands[:1] in ([b"hevc"], [b"hevx"], [b"msf1"], [b"avis"]):
        refuse_animation("a sequence of pictures", name)
    if b"avif" in brands:
        return "AVIF"
    return "HEIC" if _HEIC_BRANDS.intersection(brands) else None
