"""How far the word error rate moves when recordings begin a little later.

    python tools/starts.py data/an4/valid.jsonl -m runs/an4-gru/model other/model

Nobody hears that a recording begins 10 milliseconds later, but frames then fall elsewhere in each
sound, and on a few hundred words a model makes several errors more or fewer by that alone. A
setting that was chosen on such a set was chosen for one of these starts. The mean over several
starts is a steadier figure to compare models by; the recordings as they are stand first.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from asr.audio import load_waveform
from asr.errors import AsrError
from asr.manifest import Utterance, read_manifest
from asr.recognizer import Recognizer
from asr.scoring.alignment import ErrorCounts
from asr.scoring.metric import ErrorMetric


def errors_by_start(
    recognizer: Recognizer, utterances: Sequence[Utterance], starts_ms: Sequence[float]
) -> list[ErrorCounts]:
    """Transcribe all utterances once for each start.

    Args:
        recognizer: decodes as its folder says.
        utterances: whole files and what is said in them.
        starts_ms: milliseconds that are cut off the beginning of each.

    Returns:
        Word errors of each start.

    Raises:
        AsrError: a file cannot be read, or nothing is left of it.
    """
    rate = recognizer.acoustic.sample_rate
    metrics = [ErrorMetric() for _ in starts_ms]
    for utterance in tqdm(utterances, unit="utterance", file=sys.stderr, leave=False):
        waveform = load_waveform(utterance.audio_filepath, rate)
        for start, metric in zip(starts_ms, metrics, strict=True):
            heard = recognizer.transcribe(waveform[round(start / 1000 * rate) :], rate)
            metric.update([utterance.text], [heard.text])
    return [metric.local for metric in metrics]


def main() -> None:
    """Print a row for each model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("-m", "--model", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--count", type=int, default=4, help="of starts (default: 4)")
    parser.add_argument(
        "--step-ms", type=float, default=10.0, help="between them (default: 10, a frame's hop)"
    )
    args = parser.parse_args()
    if args.count < 1 or not args.step_ms > 0:
        parser.error("expected --count of 1 or more, and --step-ms above 0")
    starts = [args.step_ms * index for index in range(args.count)]
    print(
        "WER % when cut by", ", ".join(f"{start:g}" for start in starts), "ms; errors; mean WER %"
    )
    try:
        utterances = read_manifest(args.manifest)
        for model in args.model:
            counts = errors_by_start(Recognizer.load(model), utterances, starts)
            rates = "  ".join(f"{100 * each.rate:.2f}" for each in counts)
            errors = " ".join(str(each.errors) for each in counts)
            mean = statistics.fmean(100 * each.rate for each in counts)
            print(f"{rates}  ({errors})  mean {mean:.2f}  {model}", flush=True)
    except AsrError as error:
        raise SystemExit(f"{parser.prog}: {error}") from error
    except KeyboardInterrupt:
        print(f"\n{parser.prog}: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
