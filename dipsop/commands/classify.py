"""`dipsop classify`: train through wrong labels, and list the suspect ones. Its options."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from dipsop.classification.config import PRETRAINED_SIDE, RECIPES, SIDE, Method, NetworkName
from dipsop.commands.options import NONE, OFF, Device, Quiet, Seed, given, positive, refuse
from dipsop.compute import Dtype

RecipeName = Literal["fast", "sop", "sop+"]
DEFAULT: RecipeName = "fast"
FETCHED = ("cifar10", "cifar100")
WITH_UV: tuple[Method, ...] = ("sop", "sop+")
FROM_SCRATCH = ("dtype", "shares", "compile_")  # options that the network pretrained does not have
OF_FEW = "; fast and pretrained less for few images"
OF_HUNDRED = "; published others for CIFAR-100 or asymmetric noise"


def _by_recipe(field: str, but: str = "") -> str:
    return "by recipe: " + ", ".join(f"{name} {getattr(config, field)}" for name, config in RECIPES.items()) + but


def _known(noise: str) -> str:
    """Refuse a noise that there is none of."""
    if noise == "none":
        return noise
    from dipsop.classification import label_noise

    try:
        label_noise.check(noise)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return noise


def classify(
    context: typer.Context,
    data: Annotated[
        str,
        typer.Option(
            help="A folder with a folder of images per class, a CSV of path,label, a folder with CIFAR-10 or CIFAR-100 "
            "(python or binary version), or cifar10 or cifar100 from the cache."
        ),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder for the model, the curves and the list of labels.")],
    method: Annotated[
        Method | None,
        typer.Option(help="ce: plain; sop, sop+: with (u, v); elr: early learning.", show_default=_by_recipe("method")),
    ] = None,
    recipe: Annotated[
        RecipeName | None,
        typer.Option(
            help="All settings at once, of networks trained from scratch: fast, or as published, for a GPU: sop, sop+.",
            show_default="pretrained for your own images where its extra is installed, else fast",
        ),
    ] = None,
    noise: Annotated[
        str,
        typer.Option(
            help="Make labels wrong, to try it: symmetric:FRACTION (that become wrong), symmetric-all:FRACTION (drawn "
            "anew among all classes, as published), asymmetric:FRACTION, or human:SET with SET one of aggregate, "
            "random1, random2, random3, worse (CIFAR-10N).",
            callback=_known,
        ),
    ] = "none",
    human_labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CIFAR-10_human.pt, for --noise human.", show_default=NONE)
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch cifar10 or cifar100 into the cache.", show_default=OFF)
    ] = False,
    images: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train on so many images: the first of CIFAR, or of your own, evenly spread.",
            show_default="all",
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            max=512,
            help="Side in pixels that your own images are resized to.",
            show_default=f"{SIDE}; pretrained {PRETRAINED_SIDE}",
        ),
    ] = None,
    test_fraction: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of your own images that is set aside for testing, and not listed."),
    ] = 0.0,
    corrections: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="What labels.html of a run on the same data saved: its labels take the place of the given ones, and "
            "are trusted. Several are applied one after the other.",
            show_default=NONE,
        ),
    ] = None,
    network: Annotated[
        NetworkName | None,
        typer.Option(
            help="pretrained: a linear layer on what a network sees that knows ImageNet (an extra), "
            "for few images too; fast: from scratch, for processors.",
            show_default=_by_recipe("network"),
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="features.npz of an earlier run, so that its images are not looked at again.",
            show_default=NONE,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes.", show_default=_by_recipe("epochs", "; sop 150 for CIFAR-100"))
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=2, help="Images per step.", show_default=_by_recipe("batch", OF_FEW))
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(
            help="Rate of the network.",
            callback=positive,
            show_default=_by_recipe("lr", "; fast as the root of --batch"),
        ),
    ] = None,
    rate_u: Annotated[
        float | None, typer.Option(help="Rate of u.", callback=positive, show_default=_by_recipe("rate_u", OF_HUNDRED))
    ] = None,
    rate_v: Annotated[
        float | None, typer.Option(help="Rate of v.", callback=positive, show_default=_by_recipe("rate_v", OF_HUNDRED))
    ] = None,
    seed: Seed = RECIPES[DEFAULT].seed,
    device: Device = "auto",
    dtype: Annotated[
        Dtype, typer.Option(help="What the network computes in; auto: bfloat16 where the processor has it.")
    ] = RECIPES[DEFAULT].dtype,
    shares: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Parts of a batch, each normalized by itself: the course depends on these, not on the processes.",
            show_default="one per process of torchrun",
        ),
    ] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Compile the network; pays on GPUs.", show_default=OFF)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, if one was begun there.", show_default=OFF)
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as a JSON object.", show_default=OFF)] = False,
    quiet: Quiet = False,
) -> None:
    """Train an image classifier on labels of which a part is wrong, and say which.

    RUN/labels.csv lists all images, the most suspect label first; RUN/labels.html shows them in a browser, to be kept
    or changed. Killed at any moment, --resume goes on from the last epoch. Under torchrun, each process trains its
    share.
    """
    with_uv = (method or RECIPES[recipe or DEFAULT].method) in WITH_UV
    chosen = _chosen(context, recipe, network, method, features)
    if chosen != "pretrained":
        refuse(context, ("features",), "It goes with --network pretrained.")
    if not noise.startswith("human:"):
        refuse(context, ("human_labels",), "It goes with --noise human:SET.")
    if data not in FETCHED:
        refuse(context, ("fetch",), "It goes with --data cifar10 or --data cifar100.")
    if not with_uv:
        refuse(context, ("rate_u", "rate_v"), "It goes with --method sop or sop+: others have no u and v.")
    if given(context).keys() & {"size", "test_fraction"}:
        from dipsop.classification import sources

        if sources.is_cifar(data):
            refuse(context, ("size", "test_fraction"), "It goes with your own images: CIFAR has its own.")
    from dipsop.commands.training import follow
    from dipsop.jobs.classify import ClassifyJob

    options = {
        "method": method,
        "network": network,
        "epochs": epochs,
        "batch": batch,
        "lr": lr,
        "rate_u": rate_u,
        "rate_v": rate_v,
        "shares": shares,
    }
    settings = {name: value for name, value in options.items() if value is not None}
    job = ClassifyJob(
        data=data,
        out=out,
        recipe=chosen,
        settings=settings | {"dtype": dtype, "compile": compile_},
        seed=seed,
        noise=noise,
        human_labels=human_labels,
        fetch=fetch,
        images=images,
        size=size,
        test_fraction=test_fraction,
        corrections=tuple(corrections or ()),
        made_before=features,
        device=device,
        resume=resume,
    )
    raise typer.Exit(follow(job, json=json, quiet=quiet))


def _chosen(
    context: typer.Context,
    recipe: RecipeName | None,
    network: NetworkName | None,
    method: Method | None,
    features: Path | None,
) -> str | None:
    """The recipe that the options amount to; None where it is left to the data."""
    scratch = given(context).keys() & FROM_SCRATCH or ({"method"} if method == "sop+" else set())
    if network == "pretrained":
        refuse(context, ("recipe",), "It is for networks trained from scratch, not for --network pretrained.")
        refuse(context, FROM_SCRATCH, "It goes with networks trained from scratch, not with --network pretrained.")
        if method == "sop+":
            refuse(context, ("method",), "It takes two views of images, which --network pretrained does not have.")
        return "pretrained"
    if features is not None and not (recipe or network or scratch):
        return "pretrained"
    return recipe or (DEFAULT if network else None)
