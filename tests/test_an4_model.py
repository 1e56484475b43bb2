"""The model that comes with the checkout: small enough, and it knows its training speech."""

from pathlib import Path

from asr.corpora.an4 import read_an4
from asr.corpora.corpus import CorpusItem
from asr.recognizer import Recognizer
from asr.scoring import score_pairs

MODEL = Path(__file__).parents[1] / "recipes/an4/model"


def test_it_is_below_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 12e6


def test_it_transcribes_what_it_was_trained_on(speech: Path) -> None:
    items = [item for item in read_an4(speech / "an4", "train") if isinstance(item, CorpusItem)]
    chosen = items[::30]
    recognizer = Recognizer.load(MODEL, device="cpu")
    told = recognizer.transcribe_many([str(item.audio) for item in chosen])
    score = score_pairs(
        {item.id: item.text for item in chosen},
        {item.id: text.text for item, text in zip(chosen, told, strict=True)},
    )
    assert score.words.words > 120
    # Unseen speakers: 4.06 %, see recipes/an4/RESULTS.md.
    assert score.words.rate < 0.05
