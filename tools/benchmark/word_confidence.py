"""Judge the confidences of words: do they tell wrong words from right ones, are they honest?

    python tools/benchmark/word_confidence.py data/an4/valid.jsonl -m runs/an4-gru/model

Decodes greedily. The temperature is fitted on the words of all speakers but those of the fold that
is judged; folds hold every fourth speaker. Two measures over all words: the area under the ROC
curve of error detection, and the expected calibration error (Guo et al. 2017, ten bins). Baseline:
the least probability of a word's tokens, as it comes and with a temperature fitted in the same way.
"""

import argparse
import math
from collections.abc import Callable, Sequence

import torch

from asr import Recognizer
from asr.decoding.decoder import GreedyDecoder
from asr.decoding.words import word_spans
from asr.manifest import read_manifest
from asr.scoring.alignment import align
from asr.scoring.calibration import area_under_roc, calibrate
from asr.tuning.confidence import Judged, confidences, fit_temperature, judge

FOLDS = 4
Pairs = list[tuple[float, bool]]


def most_probable(judged: Sequence[Judged], recognizer: Recognizer, temperature: float) -> Pairs:
    """Pair the least probability of each word's tokens with whether the word is right."""
    pairs: Pairs = []
    for each in judged:
        frames, tokens = list(each.hypothesis.frames), torch.tensor(each.hypothesis.tokens)
        rows = torch.softmax(torch.from_numpy(each.log_probs[frames]).double() / temperature, -1)
        chances = rows.gather(1, tokens.long().reshape(-1, 1))[:, 0].tolist()
        spans = word_spans(each.hypothesis.tokens, recognizer.tokenizer)
        sure = [min(chances[span.first : span.last + 1]) for span in spans]
        pairs += zip(sure, each.correct, strict=True)
    return pairs


def best_temperature(pairs_at: Callable[[float], Pairs]) -> float:
    """Find the temperature of the least cross-entropy among seventeen."""

    def cost(temperature: float) -> float:
        pairs = pairs_at(temperature)
        return -sum(math.log(max(v if right else 1 - v, 1e-7)) for v, right in pairs)

    return min((math.exp(step / 5) for step in range(-8, 9)), key=cost)


def expected_error(pairs: Pairs) -> float:
    """Give the expected calibration error."""
    # Right words stand for themselves, wrong ones for another.
    reference = ["a" if right else "b" for _, right in pairs]
    found = calibrate([(align(reference, ["a"] * len(pairs)), [value for value, _ in pairs])])
    return math.nan if found is None else found.expected_error


def main() -> None:
    """Print both measures of the package's confidences and of the baselines."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("manifest")
    parser.add_argument("-m", "--model", required=True)
    args = parser.parse_args()
    recognizer = Recognizer.load(args.model)
    folds: dict[str, list[Judged]] = {}
    for each in read_manifest(args.manifest):
        log_probs = recognizer.log_probs(each.audio_filepath).numpy()
        [hypothesis] = GreedyDecoder().decode(log_probs)
        text = recognizer.tokenizer.decode(hypothesis.tokens)
        found = judge(log_probs, hypothesis, text, each.text.split())
        folds.setdefault(each.speaker, []).append(found)
    speakers = sorted(folds)
    results: dict[str, Pairs] = {"entropy": [], "entropy, T = 1": [], "probability": []}
    results["probability, T = 1"] = []
    for fold in range(FOLDS):
        held = [j for s in speakers[fold::FOLDS] for j in folds[s]]
        rest = [j for i, s in enumerate(speakers) if i % FOLDS != fold for j in folds[s]]
        warm = fit_temperature(rest, recognizer.tokenizer)
        other = best_temperature(lambda t, rest=rest: most_probable(rest, recognizer, t))
        print(f"fold {fold + 1}: temperature {warm:.3f}, of the baseline {other:.3f}")
        results["entropy"] += confidences(held, recognizer.tokenizer, warm)
        results["entropy, T = 1"] += confidences(held, recognizer.tokenizer, 1.0)
        results["probability"] += most_probable(held, recognizer, other)
        results["probability, T = 1"] += most_probable(held, recognizer, 1.0)
    for name, pairs in results.items():
        wrong = sum(not right for _, right in pairs)
        area = area_under_roc(pairs)
        print(
            f"{name:20} area under ROC {math.nan if area is None else area:.3f}, "
            f"calibration error {100 * expected_error(pairs):.2f} % ({len(pairs)} words, "
            f"{wrong} wrong)"
        )


if __name__ == "__main__":
    main()
