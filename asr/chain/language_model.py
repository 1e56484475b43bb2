"""The language model of a chain: of the corpus' release or a file, made ready and weighed."""

import json
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from asr.corpora import Corpus, Part
from asr.decoder import Knowledge
from asr.errors import ConfigError, ScoringError
from asr.files import atomic_folder, atomic_write
from asr.lm.arpa import read_arpa
from asr.lm.ngram import Units
from asr.lm.ngram_file import is_ngram_file, write_ngram
from asr.manifest import Utterance
from asr.model_config import save_decoder_options
from asr.recognizer import Recognizer
from asr.tuning.run import gather, tune_calibration, tune_weights
from asr.tuning.search import figures, format_tuning

# Log-probabilities of the development sets; large, and of no use once the weights are found.
_CACHE = "log-probs"


class LanguageModel:
    """A language model by the name that a recipe gives it.

    Args:
        name: of an ARPA file of the release, its ending left out, or of its part, or a path: an
            ARPA file, a file of ``asr lm``, or the folder of a GRU language model.
        corpus: whose release may have it.
        root: where the release's files go.
    """

    def __init__(self, name: str, corpus: Corpus, root: Path) -> None:
        self.name, self.corpus, self.root = name, corpus, root

    @cached_property
    def part(self) -> Part | None:
        """The part of the release to download; None for a file of one's own.

        Raises:
            ConfigError: neither the release nor the disk has such a language model.
        """
        offered = [
            part
            for part in (self.corpus.release.parts if self.corpus.release else ())
            if ".arpa" in part.file
        ]
        for part in offered:
            if self.name in (part.name, part.file, _stem(part.file)):
                return part
        if Path(self.name).exists():
            return None
        names = ", ".join(_stem(part.file) for part in offered)
        raise ConfigError(
            f"chain.lm is '{self.name}', which is no file; expected one, or one of {names}"
        )

    @property
    def source(self) -> Path:
        """What was downloaded or given."""
        part = self.part
        return self.root / part.folder / part.file if part else Path(self.name)

    @property
    def ready(self) -> Path:
        """What decoding opens: an ARPA file is turned into a file that opens at once."""
        given = self.source
        if self.part is None and (given.is_dir() or is_ngram_file(given)):
            return given
        return self.root / "lm" / f"{_stem(given.name)}.bin"

    def convert(self) -> str:
        """Make it ready, and say how many n-grams it has."""
        words, levels = read_arpa(self.source)
        self.ready.parent.mkdir(parents=True, exist_ok=True)
        write_ngram(self.ready, Units(), words, levels)
        return ", ".join(f"{len(level):,} {n}-grams" for n, level in enumerate(levels, start=1))


def tune_model(
    model: Path, utterances: Sequence[Utterance], lm: Path, folder: Path, target: Path
) -> dict[str, Any]:
    """Weigh a language model on development sets, as ``asr tune MANIFEST -m MODEL --lm LM`` does.

    Args:
        model: the model folder.
        utterances: of the development sets.
        lm: the language model.
        folder: for what was searched, ``tuning.txt`` and ``tuning.json``.
        target: a model folder to write: the same model with the weights found.

    Returns:
        The weights and the word error rates of the sets together without and with it, in percent.

    Raises:
        ScoringError: audio that could not be decoded; names it.
    """
    collected = gather(Recognizer.load(model), model, utterances, folder / _CACHE, "none")
    if collected.failures:
        raise ScoringError(
            f"{len(collected.failures)} recordings to tune on could not be read, the first: "
            f"{collected.failures[0]}; mend them and run again"
        )
    knowledge = Knowledge(lm)
    tuning = tune_weights(collected, collected.recognizer.decoder_options, knowledge)
    options = tuning.applied(collected.recognizer.decoder_options)
    options, _ = tune_calibration(collected, options, knowledge, None)
    with atomic_write(folder / "tuning.txt") as stream:
        stream.write(format_tuning(tuning) + "\n")
    with atomic_write(folder / "tuning.json") as stream:
        json.dump(figures(tuning), stream)
    with atomic_folder(target) as place:
        shutil.copytree(model, place, dirs_exist_ok=True)
        save_decoder_options(place, options)
    shutil.rmtree(folder / _CACHE)
    words = max(1, tuning.words)
    return {
        "lm_weight": tuning.lm_weight,
        "insertion_bonus": tuning.bonus,
        "beam_size": options.beam_size,
        "greedy": 100 * tuning.rounds[0].errors / words,
        "wer": 100 * tuning.errors / words,
    }


def _stem(file: str) -> str:
    return file.removesuffix(".gz").removesuffix(".arpa")
