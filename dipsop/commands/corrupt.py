"""`dipsop corrupt`: a clean picture in, one with sparse corruption of a known kind out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dipsop.commands.options import OFF, Quiet, Seed, finite

NoiseName = Literal["salt-and-pepper", "random-valued"]


def corrupt(
    picture: Annotated[
        Path, typer.Argument(metavar="IN", help="The clean picture: PNG, JPEG, TIFF, WebP, BMP, HEIC or AVIF.")
    ],
    out: Annotated[Path, typer.Option(help="Where the corrupted picture goes; the suffix is the format.")],
    noise: Annotated[NoiseName, typer.Option(help="Values become 0 or 1, or anything in between.")] = "random-valued",
    fraction: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="Probability with which a value is hit.")
    ] = 0.3,
    seed: Seed = 0,
    shared: Annotated[
        bool, typer.Option("--shared", help="Hit all channels of a pixel together.", show_default=OFF)
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Corrupt a picture by noise of a known kind, to try what `restore` makes of it.

    Depth, transparency, colour profile and EXIF stay as they are.
    """
    from dipsop.commands.display import note
    from dipsop.files import check_apart, shown
    from dipsop.pictures import images
    from dipsop.pictures.encode import note_on
    from dipsop.pictures.noise import MODELS

    clean = images.load(picture)
    check_apart([picture], [out])
    images.check_writable(out, clean)
    for sentence in filter(None, (*clean.notes, note_on(clean, out))):
        note(f"note: {sentence}", quiet)
    values, hit = MODELS[noise](clean.values, fraction, seed, shared)
    images.save(out, clean.replaced(values, hit))
    if not quiet:
        typer.echo(f"wrote {shown(out)}: {noise} noise on {100 * hit.mean():.1f} % of the values, seed {seed}")
