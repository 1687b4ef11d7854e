"""`recollect evaluate`: how well a model, or the whole search, finds photos by their captions."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.logs import set_up_logging
from app.settings import Settings
from app.terminal import fail, out, progress, read_settings, told_plainly

if TYPE_CHECKING:  # the flows take seconds to import
    from app.flows.evaluation import Evaluation, Questions

Through = Literal["vectors", "search"]


def evaluate(
    captions: Annotated[Path, typer.Argument(help="A CSV file with the columns image_filename and caption.")],
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos; default: `images` beside the file, or its own.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A name as for RECOLLECT_MODEL, which is the default.")] = None,
    through: Annotated[
        Through, typer.Option(help="Compare vectors only, or search a library made of these photos.")
    ] = "vectors",
    against: Annotated[
        str | None, typer.Option(help="Compare with another model, or with what --json has written.")
    ] = None,
    write: Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")] = None,
) -> None:
    """Measure how well photos are found by captions: recall, nDCG, MRR, median rank, each with its 95 % interval.

    The library is left alone. Exit status: 2 if photos are missing or the file cannot be used.
    """
    from app.flows import evaluation

    set_up_logging("error")
    settings = read_settings(model=model)
    with told_plainly(settings, status=2):
        questions = evaluation.read_questions(captions, images)
        earlier = evaluation.read_report(Path(against), questions) if against and is_report(against) else None
        own = evaluated(settings, questions, through)
        report = evaluation.report(own, questions)
        if against:
            other = earlier or evaluated(read_settings(model=against), questions, through)
            report |= evaluation.comparison(own, other, questions)
            report["against"] = evaluation.report(other, questions)
        if write:
            write.write_text(json.dumps(report, indent=1) + "\n")
    show(report)


def is_report(against: str) -> bool:
    """A file written by --json, and no model's checkpoint."""
    if against.endswith(".json") and not Path(against).is_file():
        fail(f"There is no file {against}.", status=2)
    return against.endswith(".json")


def evaluated(settings: Settings, questions: "Questions", through: Through) -> "Evaluation":
    """Raises: WeightsRefused, InvalidRequest, EncoderFailed, OSError."""
    from app.dependencies import assemble, load_encoder, load_models, pick_device
    from app.flows.evaluation import Evaluation, ask_search, ask_vectors
    from app.services.decode import ImageDecoder
    from app.services.model_choice import choose_model

    choice = choose_model(settings.model, settings.model_sha256)
    with progress(choice.space, len(questions.photos) + len(questions.captions)) as tick:
        if through == "vectors":
            encoder = load_encoder(choice, pick_device(settings), settings.precision)
            decoder = ImageDecoder(settings.max_pixels, settings.decode_concurrency)
            return Evaluation(choice.space, through, ask_vectors(encoder, decoder, questions, tick))
        with TemporaryDirectory() as folder:
            place = {"database_url": f"sqlite:///{folder}/recollect.db", "uploads_dir": Path(folder) / "uploads"}
            own = settings.model_copy(update=place)
            services = assemble(own, load_models(own, choice, voice=False))
            services.serving.switch(services)
            try:
                return Evaluation(choice.space, through, ask_search(services, questions, tick))
            finally:
                services.close()


def show(report: dict[str, Any]) -> None:
    """A line for each metric; with --against, both sides and their difference."""
    sides = [report, *([report["against"]] if "against" in report else [])]
    say(f"{report['photos']} photos, {report['captions']} captions; 95 % intervals in brackets")
    for letter, side in zip("AB", sides, strict=False):
        say(f"{letter}: {side['model']}, through its {side['through']}")
    for name in report["metrics"]:
        cells = [cell(name, side["metrics"][name]) for side in sides]
        if "differences" in report:
            cells.append("A − B " + cell(name, report["differences"][name]))
        say(f"{name:<12}" + "".join(f"{text:<28}" for text in cells).rstrip())
    if "better" in report:
        judged = f"by {report['judged_by']}"
        say(f"{report['better']} is better, {judged}." if report["better"] else f"No difference shown, {judged}.")


def cell(name: str, estimate: dict[str, float | None]) -> str:
    """`41.0 % (37.2 to 44.9)`; the median rank is no share, and may be that of photos that were not found."""
    rank = name == "median_rank"
    texts = {k: "∞" if v is None else f"{v:g}" if rank else f"{100 * v:.1f}" for k, v in estimate.items()}
    return f"{texts['value']}{'' if rank else ' %'} ({texts['low']} to {texts['high']})"


def say(line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)
