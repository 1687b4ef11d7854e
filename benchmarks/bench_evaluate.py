"""How well does the embedded model find photos by their captions, by its vectors and through the whole search?

Run: python -m benchmarks.bench_evaluate [--photos ../shared/photos]; the same as `recollect evaluate`
"""

from app.cli_evaluate import evaluated, show
from app.flows.evaluation import comparison, read_questions, report
from app.settings import Settings
from benchmarks import results
from benchmarks.photo_folder import chosen_folder


def main() -> None:
    photos = chosen_folder(__doc__)
    if photos is None:
        return
    questions = read_questions(photos / "captions.csv")
    settings = Settings(model="embedded")
    search, vectors = (evaluated(settings, questions, through) for through in ("search", "vectors"))
    found = report(search, questions) | comparison(search, vectors, questions)
    found["against"] = report(vectors, questions)
    show(found)
    del found["against"]["ranks"]  # those of the search stay, for `recollect evaluate --against`
    results.write("evaluate", found, ["torch"])


if __name__ == "__main__":
    main()
