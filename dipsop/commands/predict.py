"""`dipsop predict`: what a trained model sees in images."""

from pathlib import Path
from typing import Annotated

import typer

from dipsop.commands.options import OFF, Device


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that dipsop classify wrote.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images to classify.")],
    device: Device = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.", show_default=OFF)] = False,
) -> None:
    """Name the class of each image, and the probability that the model gives it, a line per image."""
    from dipsop.commands.predict_job import predictions

    for prediction in predictions(run, images, device):
        typer.echo(prediction.as_json() if json else prediction.in_words())
