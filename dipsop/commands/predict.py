"""`dipsop predict`: what a trained model sees in images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dipsop.commands.options import OFF, Device
from dipsop.files import printable, shown

if TYPE_CHECKING:
    from dipsop.jobs.predict import Prediction


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that dipsop classify wrote.")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images to classify.")],
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line.", show_default=OFF)] = False,
) -> None:
    """Name the class of each image, and the probability that the model gives it, a line per image."""
    from dipsop.jobs import predict

    for prediction in predict.run(predict.PredictJob(run=run, images=tuple(images), device=device)):
        typer.echo(_as_json(prediction) if as_json else _in_words(prediction))


def _in_words(prediction: "Prediction") -> str:
    """Path, class, probability."""
    return f"{shown(prediction.image)}  {printable(prediction.label)}  {prediction.probability:.3f}"


def _as_json(prediction: "Prediction") -> str:
    """The same as a JSON object."""
    said = {"image": str(prediction.image), "label": prediction.label}
    return json.dumps(said | {"probability": round(prediction.probability, 6)})
