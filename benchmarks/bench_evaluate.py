"""How well does the embedded model find photos by their captions, by its vectors and through the whole search?

Run: python -m benchmarks.bench_evaluate [--photos ../shared/photos]; the same as `recollect evaluate`
"""

import argparse
from pathlib import Path

from app.cli_evaluate import evaluated, show
from app.flows.evaluation import comparison, read_questions, report
from app.settings import Settings
from benchmarks import results

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "photos")
    photos: Path = parser.parse_args().photos
    if not photos.is_dir():
        print(f"skipped: {photos}, with images/ and captions.csv, is not here")
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
