"""Time beam search against flashlight-text and pyctcdecode on the same log-probabilities, one core.

    python3.11 -m venv others
    others/bin/pip install flashlight-text==0.0.7 pyctcdecode==0.5.0 kenlm 'numpy<2'
    taskset -c 0 python tools/benchmark/decoding.py --others others/bin/python

The others run in an environment of their own (Python 3.11; kenlm has no wheel: it is compiled).
Log-probabilities are simulated from a random language, so that references are known and contenders
can be held to the same word error rate: 28 characters or 1,000 subwords, 10 s an utterance at 25
frames a second. The language model is a word 3-gram of 20,000 sentences of the same language; each
contender has it at the weight, out of four, at which it errs least.

Times are processor seconds of decoding alone, the median of the rounds; reading files, building
tries and the first decoding of everything are not counted.
"""

import argparse
import json
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from asr.decoder import Knowledge, build_decoder
from asr.decoding.options import DecoderOptions
from asr.lm.ngram_training import NGramOptions, train_ngram
from asr.scoring import score_pairs
from asr.tokenizer import CharacterTokenizer, SentencePieceTokenizer, Tokenizer

UTTERANCES, SECONDS, FRAMES_PER_SECOND = 20, 10, 25
WORDS, FOLLOWERS, SENTENCES = 3_000, 30, 20_000
LM_WEIGHTS = (0.05, 0.1, 0.2, 0.3)


class Language:
    """A random language: Zipf's words, each with followers of its own that come more often."""

    def __init__(self, draw: np.random.Generator) -> None:
        self.draw = draw
        letters = np.array(list("ETAOINSHRDLCUMWFGYPBVKJXQZ"))
        weights = 1 / (np.arange(26) + 3.0)
        lengths = np.clip(draw.poisson(1.2 + 0.5 * np.log(np.arange(1, WORDS + 1))), 1, 12)
        words: dict[str, None] = {}
        for length in lengths:
            word = "".join(draw.choice(letters, length, p=weights / weights.sum()))
            while word in words:
                word += str(draw.choice(letters))
            words[word] = None
        self.words = list(words)
        frequency = 1 / (np.arange(WORDS) + 2.7)
        self.total = np.cumsum(frequency / frequency.sum())
        self.followers = np.minimum(
            np.searchsorted(self.total, draw.random((WORDS, FOLLOWERS))), WORDS - 1
        )

    def sentence(self, words: int) -> str:
        """Draw a sentence."""
        places = [int(np.searchsorted(self.total, self.draw.random()))]
        while len(places) < words:
            if self.draw.random() < 0.85:
                places.append(int(self.draw.choice(self.followers[places[-1]])))
            else:
                places.append(min(int(np.searchsorted(self.total, self.draw.random())), WORDS - 1))
        return " ".join(self.words[place] for place in places)


def simulate(tokens: Sequence[int], vocabulary: int, draw: np.random.Generator) -> np.ndarray:
    """Make log-probabilities (U, V) as a trained CTC model gives them: peaks between blanks."""
    frames = SECONDS * FRAMES_PER_SECOND
    # Two in a row that are the same need a blank between them.
    needed = [1 + (i > 0 and tokens[i] == tokens[i - 1]) for i in range(len(tokens))]
    spare = max(0, frames - sum(needed))
    gaps = draw.multinomial(spare, np.full(len(tokens) + 1, 1 / (len(tokens) + 1)))
    chances = draw.dirichlet(np.full(vocabulary, 0.02), frames + 400) + 1e-9
    rest = np.minimum(draw.lognormal(-6.5, 2.0, frames + 400), 0.3)
    chances = chances / chances.sum(1, keepdims=True) * rest[:, None]
    chances[:, 0] += 1 - rest
    place = 0
    for token, need, gap in zip(tokens, needed, gaps, strict=False):
        place += int(gap) + need - 1
        sure = draw.beta(3.0, 0.45)
        row = chances[place]
        row *= 0.1 * (1 - sure)
        row[token] += sure
        row[int(draw.integers(1, vocabulary))] += 0.7 * (1 - sure)
        row[0] += 0.2 * (1 - sure)
        place += 1
    kept = chances[: max(frames, place)]
    return np.log(kept / kept.sum(1, keepdims=True)).astype(np.float32)


def make_data(kind: str, folder: Path) -> tuple[Tokenizer, list[np.ndarray], list[str], Path]:
    """Make a tokenizer, log-probabilities, references and the text of a language model."""
    draw = np.random.default_rng(7)
    language = Language(draw)
    text = [language.sentence(int(draw.integers(5, 25))) for _ in range(SENTENCES)]
    corpus = folder / "text.txt"
    corpus.write_text("\n".join(text) + "\n")
    tokenizer: Tokenizer
    if kind == "characters":
        tokenizer = CharacterTokenizer(list(" 'ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
        words = 27
    else:
        tokenizer = SentencePieceTokenizer.train(text, 1000)
        words = 27
    references = [language.sentence(words) for _ in range(UTTERANCES)]
    rows = [simulate(tokenizer.encode(r), tokenizer.vocabulary_size, draw) for r in references]
    return tokenizer, rows, references, corpus


def measure(decode: Callable[[np.ndarray], str], rows: list[np.ndarray], rounds: int) -> dict:
    """Time a decoder over all utterances; give milliseconds an utterance and the texts."""
    texts = [decode(each) for each in rows]
    times = []
    for _ in range(rounds):
        started = time.process_time()
        for each in rows:
            decode(each)
        times.append(time.process_time() - started)
    return {"ms": 1e3 * sorted(times)[len(times) // 2] / len(rows), "texts": texts}


def wer(texts: Sequence[str], references: Sequence[str]) -> float:
    """Give the word error rate in percent."""
    pairs = ({str(i): t for i, t in enumerate(side)} for side in (references, texts))
    return 100 * score_pairs(*pairs).words.rate


class Race:
    """All contenders on the data of one kind of tokens.

    Args:
        kind: ``characters`` or ``subwords``.
        folder: for files.
        python: of the other environment; None leaves the others out.
        rounds: how often everything is decoded.
    """

    def __init__(self, kind: str, folder: Path, python: str | None, rounds: int) -> None:
        self.folder, self.python, self.rounds = folder, python, rounds
        self.tokenizer, self.rows, self.references, corpus = make_data(kind, folder)
        self.lm, self.arpa = folder / "lm.bin", folder / "lm.arpa"
        train_ngram([corpus], self.lm, NGramOptions(order=3), arpa=self.arpa)
        counts = [len(rows) for rows in self.rows]
        np.savez(folder / "data.npz", rows=np.concatenate(self.rows), counts=counts)
        tokens = list(self.tokenizer.tokens)
        words = sorted({word for line in corpus.read_text().splitlines() for word in line.split()})
        spellings = {word: [tokens[t] for t in self.tokenizer.encode(word)] for word in words}
        (folder / "meta.json").write_text(json.dumps({"tokens": tokens, "spellings": spellings}))
        rate = float(np.mean([(rows[:, 0] > np.log(0.999)).mean() for rows in self.rows]))
        print(
            f"{kind}: V = {len(tokens)}, {len(counts)} utterances of {SECONDS} s, {sum(counts)} "
            f"frames, {100 * rate:.0f} % of them blank beyond 0.999",
            flush=True,
        )

    def ours(self, name: str, options: DecoderOptions, lm: bool, search: str = "auto") -> None:
        """Time this package's decoder."""

        def run(weight: float) -> dict:
            chosen = replace(options, lm_weight=weight or 0.5)
            decoder = build_decoder(
                self.tokenizer, chosen, Knowledge(self.lm if lm else None), search=search
            )
            return measure(
                lambda rows: self.tokenizer.decode(
                    decoder.decode(torch.from_numpy(rows))[0].tokens
                ),
                self.rows,
                self.rounds,
            )

        self.contend(name, run, lm)

    def theirs(self, name: str, contender: str, lm: bool, **settings: float) -> None:
        """Time a decoder of the other environment."""
        if self.python is None:
            return

        def run(weight: float) -> dict:
            arguments = {"contender": contender, "lm": str(self.arpa) if lm else None}
            arguments |= {"weight": weight, "rounds": self.rounds, **settings}
            script = Path(__file__).with_name("decoding_others.py")
            result = subprocess.run(
                [str(self.python), str(script), str(self.folder), json.dumps(arguments)],
                capture_output=True,
                text=True,
                check=False,
            )
            if result.returncode:
                raise SystemExit(f"{name} failed:\n{result.stderr[-2000:]}")
            return json.loads(result.stdout.splitlines()[-1])

        self.contend(name, run, lm)

    def contend(self, name: str, run: Callable[[float], dict], lm: bool) -> None:
        """Run a contender, with a language model at the weight that suits it best."""
        results = []
        for weight in LM_WEIGHTS if lm else (0.0,):
            found = run(weight)
            results.append((wer(found["texts"], self.references), found["ms"], weight))
        rate, ms, weight = min(results)
        note = f", weight {weight}" if lm else ""
        print(f"  {name:44} {ms:8.2f} ms   WER {rate:5.2f} %{note}", flush=True)


def main() -> None:
    """Run the race for characters and for subwords."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--others", metavar="PYTHON", help="python of the other environment")
    parser.add_argument("--kinds", nargs="+", default=["characters", "subwords"])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, NumPy {np.__version__}, one thread"
    )
    for kind in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            race = Race(kind, Path(folder), args.others, args.rounds)
            beam = DecoderOptions(kind="beam")
            narrow = replace(beam, token_threshold=5.0, beam_threshold=10.0)
            race.ours("asr greedy", DecoderOptions(), False)
            race.ours("asr beam 16", beam, False)
            race.ours("asr beam 16, thresholds 5 and 10", narrow, False)
            race.ours("asr beam 16, without numba", beam, False, "plain")
            race.theirs("flashlight 16, 10 tokens, threshold 10", "flashlight", False, tokens=10)
            race.theirs("pyctcdecode 16, as it comes", "pyctcdecode", False)
            race.ours("asr beam 16, word 3-gram", beam, True)
            race.ours("asr beam 16, word 3-gram, 5 and 10", narrow, True)
            race.ours("asr beam 16, word 3-gram, without numba", beam, True, "plain")
            race.theirs("flashlight 16, 10 tokens, lexicon, 3-gram", "flashlight", True, tokens=10)
            race.theirs("pyctcdecode 16, 3-gram", "pyctcdecode", True)


if __name__ == "__main__":
    main()
