"""The dataset reads audio and encodes transcripts, in worker processes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from asr.audio import load_waveform
from asr.augment import Run, SoundAugmentation, SpeedPerturbation
from asr.data.batch import Batch, Example, collate
from asr.data.sampler import Draw
from asr.data.transcripts import TokenizedTranscripts
from asr.errors import AsrError
from asr.manifest import CompactUtterances, Utterance
from asr.resampling import Samples
from asr.shards import ShardReader, is_shard_reference
from asr.tokenizer import Tokenizer

# A cut through a sound must not click.
_FADE_MS = 20


class SpeechDataset(Dataset["Example"]):
    """Utterances as batches of waveforms and tokens.

    Args:
        utterances: the manifest.
        tokenizer: encodes the transcripts; all are encoded at once, so that an unknown character
            stops training before it starts.
        sample_rate: samples a second wanted.
        speed: perturbs the speed, if given.
        transcripts: the utterances' tokens, where they are encoded already.
        sound: changes waveforms behind the speed, in this order.

    Raises:
        TokenizerError: a transcript with an unknown character; names utterance and character.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        tokenizer: Tokenizer,
        sample_rate: int,
        speed: SpeedPerturbation | None = None,
        transcripts: TokenizedTranscripts | None = None,
        sound: Sequence[SoundAugmentation] = (),
    ) -> None:
        # Forked workers share large buffers; lists of objects they would copy, page by page.
        self.utterances = CompactUtterances.of(utterances)
        self.sample_rate = sample_rate
        self.speed = speed
        self.sound = tuple(sound)
        self.tokenizer = tokenizer
        self.shards = ShardReader()
        if transcripts is None:
            transcripts = TokenizedTranscripts.encode(utterances, tokenizer)
        self.transcripts = transcripts

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, draw: Draw) -> Example:
        """Read one utterance.

        Raises:
            AudioError: the file is missing, damaged or shorter than it declares.
        """
        return self._examples([draw])[0]

    def _examples(self, draws: Sequence[Draw]) -> list[Example]:
        needed = [self.utterances[place].audio_filepath for d in draws for place in _places(d)]
        # Runs of words may well come from one file.
        paths = list(dict.fromkeys(needed))
        waveforms = dict(zip(paths, self._waveforms(paths), strict=True))
        return [self._example(draw, waveforms) for draw in draws]

    def _waveforms(self, paths: Sequence[str]) -> list[Samples]:
        """Read audio from files and shards; what lies in shards is asked for all at once."""
        far = [path for path in paths if is_shard_reference(path)]
        read = dict(zip(far, self.shards.waveforms(far, self.sample_rate), strict=True))
        return [
            read[path] if path in read else load_waveform(path, self.sample_rate) for path in paths
        ]

    def _example(self, draw: Draw, waveforms: Mapping[str, Samples]) -> Example:
        spoken = [self.utterances[place] for place in _places(draw)]
        sounds = [waveforms[utterance.audio_filepath] for utterance in spoken]
        names, texts = [u.id for u in spoken], [u.text for u in spoken]
        if draw.runs:
            sounds = [self._cut(*pair) for pair in zip(sounds, draw.runs, strict=True)]
            names, texts = _spliced(spoken, draw.runs)
        text = " ".join(filter(None, texts))
        waveform, tokens = sounds[0], self.transcripts[draw.utterance]
        if len(sounds) > 1:
            waveform = np.concatenate(sounds)
            tokens = torch.tensor(self.tokenizer.encode(text), dtype=torch.int64)
        if self.speed:
            waveform = self.speed(waveform, draw.seed)
        for change in self.sound:
            waveform = change(waveform, draw.seed, draw.utterance)
        return Example(
            "+".join(names),
            text,
            torch.from_numpy(waveform),
            tokens,
            draw.seed,
            draw.weight,
            draw.total,
        )

    def _cut(self, waveform: Samples, run: Run) -> Samples:
        """Take a run out of its recording, faded in and out where it is cut."""
        samples = self.sample_rate / 1000
        cut = waveform[round(run.start_ms * samples) : round(run.end_ms * samples)].copy()
        fade = min(round(_FADE_MS * samples), len(cut) // 2)
        if fade:
            ramp = np.linspace(0, 1, fade, dtype=cut.dtype)
            if run.start_ms > 0:
                cut[:fade] *= ramp
            cut[-fade:] *= ramp[::-1]
        return cut

    def __getitems__(self, draws: Sequence[Draw]) -> "Batch | AsrError":
        """Read and pad a batch.

        Returns:
            The batch, or the error, since an exception that crosses a process boundary arrives
            with a traceback glued into its message.
        """
        try:
            return collate(self._examples(draws))
        except AsrError as error:
            return error


def _places(draw: Draw) -> list[int]:
    """Tell which utterances are played one behind the other, or parts of them."""
    if draw.runs:
        return [run.utterance for run in draw.runs]
    return [place for place in (draw.utterance, draw.follower) if place >= 0]


def _spliced(spoken: Sequence[Utterance], runs: Sequence[Run]) -> tuple[list[str], list[str]]:
    """Name runs of words, from 1, and give their texts."""
    names, texts = [], []
    for utterance, run in zip(spoken, runs, strict=True):
        if words := utterance.text.split()[run.first_word : run.stop_word]:
            names.append(f"{utterance.id}[{run.first_word + 1}-{run.stop_word}]")
            texts.append(" ".join(words))
    return names, texts
