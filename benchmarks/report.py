"""The table in benchmarks/README.md and the plots, from what the benchmarks have left in results/.

Run: python -m benchmarks.report (needs matplotlib)
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import results

README = Path(__file__).parent / "README.md"
MARKS = ("<!-- results: written by benchmarks/report.py -->", "<!-- end of results -->")
OURS = "#2a6f6b"
PEER = "#b9b4a7"

Report = dict[str, Any]


@dataclass(frozen=True)
class Chapter:
    """What one benchmark says: its question, its answer, and bars of ours beside peers and limits."""

    question: str
    answer: str
    unit: str
    bars: dict[str, float]
    ours: tuple[str, ...]


def encode(found: Report) -> Chapter:
    ms, gain, texts = found["median_ms"], found["gain"], found["texts_per_s"]
    answer = "; ".join(
        f"{name} {ms['served'][key]:.1f} ms, theirs {ms['peers'][key]:.1f} ({gain[key]:.1f}×), ours in float32 "
        f"{ms['both'][key]:.1f}"
        for name, key in (("pictures ×16", "image_16"), ("a picture alone", "image_1"), ("a text alone", "text_1"))
    )
    many = texts["at_once"] / texts["one_by_one"]
    return Chapter(
        "How fast is the embedded encoder beside timm and transformers with the same weights, called from worker "
        "threads, and what do batches gain?",
        f"{answer}; 256 texts at once {texts['at_once']:.0f} a second, one by one {texts['one_by_one']:.0f} "
        f"({many:.1f}×)",
        "ms a picture, batches of 16",
        {case: measured["image_16"] for case, measured in ms.items()},
        ("served",),
    )


def clip(found: Report) -> Chapter:
    ms, gain = found["median_ms"], found["gain"]
    return Chapter(
        "How fast is CLIP ViT-B/32 beside transformers' CLIPModel and ONNX Runtime?",
        "as many times as fast as transformers: "
        + ", ".join(f"{kind} {value:.2f}" for kind, value in gain.items())
        + "; ms each: "
        + ", ".join(f"{name} {each['picture ×64']:.1f} and {each['text ×1']:.1f}" for name, each in ms.items())
        + " (picture ×64 and text ×1)",
        "ms a picture, batches of 64",
        {name: each["picture ×64"] for name, each in ms.items()},
        ("ours",),
    )


def imports(found: Report) -> Chapter:
    models, large = found["models"], found["large"]
    rates = "; ".join(
        f"{name} {one['import']:.0f} of {one['encoder']:.0f} photos a second ({one['share']:.0%}, with "
        f"{one['busy']:.0%} of the cores busy)"
        for name, one in models.items()
    )
    return Chapter(
        "How near does an import come to the encoder alone, and what does a photo of 12 megapixels cost?",
        f"{rates}; 12 megapixels, embedded: decoded in {large['decode_ms']:.0f} ms (whole: "
        f"{large['whole_ms']:.0f}), encoded in {large['encode_ms']:.0f}",
        "photos a second",
        {
            f"{name}{what}": one[key]
            for name, one in models.items()
            for what, key in (("", "import"), (", encoder alone", "encoder"))
        },
        tuple(models),
    )


def search(found: Report) -> Chapter:
    ms = found["ms"]
    read = ms["read"]["p50"]
    kinds = ("flat", "flat8", "numpy", "faiss", "pgvector")
    whole = ", ".join(f"`{kind}` {ms[kind]['p50']:.0f}" for kind in kinds if kind in ms)
    shares = ("100.0%", "10.0%", "1.0%", "0.1%")
    filtered = "; ".join(
        f"`{kind}` " + " / ".join(f"{ms[f'{kind} {share}']['p50']:.1f}" for share in shares)
        for kind in ("flat", "flat8", "faiss")
    )
    rebuild = ", ".join(f"`{kind}` {seconds:.0f} s" for kind, seconds in found["rebuild_s"].items())
    return Chapter(
        f"How close is an exact search of {found['photos']:,} × {found['dim']} to merely reading the vectors?",
        f"ms: reading {read:.0f}, {whole}; `flat` is {ms['flat']['of_read']:.2f} of reading, `flat8` "
        f"{ms['flat8']['of_read']:.2f}; with a filter that leaves 100 / 10 / 1 / 0.1 %: {filtered}; filled from "
        f"SQLite: {rebuild}",
        "ms a query",
        {kind: ms[kind]["p50"] for kind in ("read", *kinds) if kind in ms},
        ("flat", "flat8"),
    )


def voice(found: Report) -> Chapter:
    ways = found["ways"]
    fastest = min(ways, key=lambda name: ways[name]["ms"])
    return Chapter(
        "How long does a voice query take beside openai-whisper and faster-whisper on the same weights?",
        f"fastest: {fastest}; "
        + ", ".join(
            f"{name} {way['ms']:.0f} ms ({way['of_whisper_transcribe']:.2f}, word error rate "
            f"{way['word_error_rate']:.1%})"
            for name, way in ways.items()
        ),
        "ms a clip",
        {name: way["ms"] for name, way in ways.items()},
        ("ours",),
    )


def idle(found: Report) -> Chapter:
    pauses = found["found"]
    words = "; ".join(
        f"after {pause} s {one['search_first_ms']:.0f} ms, {one['search_of_paced']:.2f} of one a second, "
        f"{one['search_of_in_a_row']:.2f} of one right after another (reading {one['reading_of_paced']:.2f} and "
        f"{one['reading_of_in_a_row']:.2f})"
        for pause, one in pauses.items()
    )
    return Chapter(
        "What does the first search after a pause cost, and what reading as much memory as the text tower's?",
        words,
        "first beside one a second",
        {
            f"{name}, {pause} s": one[f"{name}_of_paced"]
            for pause, one in pauses.items()
            for name in ("search", "reading")
        },
        tuple(f"search, {pause} s" for pause in pauses),
    )


def http(found: Report) -> Chapter:
    cases = found["found"]

    def cell(one: dict[str, float]) -> str:
        return f"{one['per_s']:.0f}/s ({one['p50_ms']:.0f}, {one['p95_ms']:.0f}, {one['p99_ms']:.0f} ms)"

    words = "; ".join(
        f"{name}: " + ", ".join(f"{clients} at once {cell(one)}" for clients, one in by_clients.items())
        for name, by_clients in cases.items()
    )
    return Chapter(
        f"How many searches a second over HTTP, among {found['photos']:,} photos (p50, p95, p99)?",
        f"{words}; the text encoder alone, one by one: {found['encoder_alone_per_s']:.0f}/s",
        "searches a second, new words",
        {f"{clients} clients": one["per_s"] for clients, one in cases["new words"].items()}
        | {"encoder, one by one": found["encoder_alone_per_s"]},
        tuple(f"{clients} clients" for clients in cases["new words"]),
    )


def tags(found: Report) -> Chapter:
    def at(rows: list[dict[str, float]], threshold: float) -> dict[str, float]:
        return next(row for row in rows if row["threshold"] == threshold)

    chosen, plain = at(found["chosen"], 0.4), at(found["plain_softmax"], 0.4)
    return Chapter(
        "How often are suggested tags right, at the default threshold of 0.4?",
        f"{chosen['precision']:.0%} by the captions of {found['photos']} photos, and "
        f"{chosen['photos_with_a_tag']:.0%} of the photos get one; "
        f"plain softmax: {plain['precision']:.0%}, {plain['photos_with_a_tag']:.0%}",
        "share of tags that are right",
        {"calibrated": chosen["precision"], "plain softmax": plain["precision"]},
        ("calibrated",),
    )


def evaluate(found: Report) -> Chapter:
    metrics = found["metrics"]

    def cell(name: str) -> str:
        low, high = (100 * metrics[name][end] for end in ("low", "high"))
        return f"{name} {metrics[name]['value']:.1%} ({low:.1f} to {high:.1f})"

    better = {"A": "the search is better", "B": "its vectors alone are better", None: "no difference shown"}
    return Chapter(
        "How well does the embedded model find photos by their captions, through the whole search?",
        ", ".join(cell(name) for name in metrics if name != "median_rank")
        + f", median rank {metrics['median_rank']['value']:g}; {found['photos']} photos, {found['captions']} "
        f"captions, 95 % intervals in brackets; beside its vectors alone: {better[found['better']]}",
        "% of captions, 95 % intervals in the table",
        {name: 100 * metrics[name]["value"] for name in ("recall@1", "recall@5", "recall@10")},
        ("recall@1", "recall@5", "recall@10"),
    )


def relevance(found: Report) -> Chapter:
    words, pictures = found["words"], found["picture"]["methods"]
    ours, fixed = words["methods"]["relevance"], words["methods"]["best fixed cosine"]
    gain, low, high = words["gain"]
    by_picture = " against ".join(
        f"{pictures[name]['result_f1'][0]:.3f}" for name in ("relevance", "best fixed cosine")
    )
    return Chapter(
        "Does the relevance tell whether anything in the library is what was asked for, better than any fixed "
        "cosine?",
        f"F1 {ours['f1'][0]:.3f} (precision {ours['precision'][0]:.3f}, recall {ours['recall'][0]:.3f}), the best "
        f"fixed cosine {fixed['f1'][0]:.3f}; gain {gain:+.3f} ({low:+.3f} to {high:+.3f}), there in "
        f"{words['splits_won']:.0%} of {found['splits']} splits of {found['photos']} photos; Brier score "
        f"{ours['query_brier'][0]:.3f}, calibration error {ours['query_ece'][0]:.3f}; single results F1 "
        f"{ours['result_f1'][0]:.3f} against {fixed['result_f1'][0]:.3f}, by pictures {by_picture}",
        "F1 of “something matches”",
        {name: row["f1"][0] for name, row in words["methods"].items()},
        ("relevance",),
    )


def learning(found: Report) -> Chapter:
    phrases, captions = found["shipped"]["phrases"], found["shipped"]["captions"]
    gain, low, high = captions["gain"]
    similar = found["similar"]
    return Chapter(
        "Do three votes up and three down help to find the concept's other photos?",
        f"recall@10 of photos not voted on {phrases['before'][0]:.3f} → {phrases['after'][0]:.3f} for a concept's "
        f"phrase, {captions['before'][0]:.3f} → {captions['after'][0]:.3f} for captions ({gain:+.3f}, {low:+.3f} "
        f"to {high:+.3f}), paraphrases {similar['paraphrases_gain'][0]:+.3f}; "
        f"{1 - similar['other_queries_moved']:.1%} of the queries for other concepts do not move, and "
        f"{similar['other_queries_first_10_kept']:.1%} of their first ten stay; {found['concepts']} concepts, "
        f"{found['queries']} queries",
        "recall@10 of photos not voted on",
        {
            f"{name}, {when}": row[when][0]
            for name, row in found["shipped"].items()
            for when in ("before", "after")
        },
        ("phrases, after", "captions, after"),
    )


def exclusion(found: Report) -> Chapter:
    ways = found["without"]
    gain, low, high = ways["factor"]["gain"]
    each = ", ".join(f"{name} {row['precision_at_5']:.3f}" for name, row in ways.items())
    return Chapter(
        "How are photos found that show one thing and not another?",
        f"precision@5: {each}; the factor gains {gain:+.3f} ({low:+.3f} to {high:+.3f}) over {found['pairs']} "
        "pairs of concepts",
        "precision@5",
        {name: row["precision_at_5"] for name, row in ways.items()},
        ("factor",),
    )


CHAPTERS: dict[str, Callable[[Report], Chapter]] = {
    "encode": encode,
    "clip": clip,
    "import": imports,
    "search": search,
    "voice": voice,
    "http": http,
    "idle": idle,
    "tags": tags,
    "evaluate": evaluate,
    "relevance": relevance,
    "learning": learning,
    "exclusion": exclusion,
}


def main() -> None:
    reports = {name: found for name in CHAPTERS if (found := results.read(name))}
    chapters = {name: CHAPTERS[name](found) for name, found in reports.items()}
    text, (begin, end) = README.read_text(), MARKS
    written = f"{begin}\n\n{table(reports, chapters)}\n\n{end}"
    README.write_text(re.sub(f"{re.escape(begin)}.*{re.escape(end)}", lambda _: written, text, flags=re.DOTALL))
    for name, chapter in chapters.items():
        plot(chapter, results.FOLDER / f"{name}.svg")


def table(reports: dict[str, Report], chapters: dict[str, Chapter]) -> str:
    lines = ["| question | script | answer | measured |", "| --- | --- | --- | --- |"]
    for name, chapter in chapters.items():
        machine = reports[name]["machine"]
        versions = ", ".join(f"{package} {version}" for package, version in machine["versions"].items())
        where = (
            f"{machine['date']}, {machine['commit']}, {machine['processor']}, {machine['cores']} cores; {versions}"
        )
        picture = f"[`bench_{name}`](results/{name}.svg)"
        lines.append(f"| {chapter.question} | {picture} | {chapter.answer} | {where} |")
    return "\n".join(lines)


def plot(chapter: Chapter, path: Path) -> None:
    """Bars, ours in colour; the same bars make the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = path.name
    figure = Figure(figsize=(7, 0.7 + 0.4 * len(chapter.bars)), layout="constrained")
    axes = figure.add_subplot()
    names = list(chapter.bars)[::-1]
    colours = [OURS if name in chapter.ours else PEER for name in names]
    bars = axes.barh(names, [chapter.bars[name] for name in names], color=colours)
    axes.bar_label(bars, fmt="%.3g", padding=4)
    axes.set_xlabel(chapter.unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
