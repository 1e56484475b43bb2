"""The dataset reads audio and encodes transcripts, in worker processes."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.utils.data import Dataset

from asr.audio import load_waveform
from asr.augment import SoundAugmentation, SpeedPerturbation
from asr.data.batch import Batch, Example, collate
from asr.data.sampler import Draw
from asr.data.transcripts import TokenizedTranscripts
from asr.errors import AsrError
from asr.manifest import CompactUtterances, Utterance
from asr.resampling import Samples
from asr.shards import ShardReader, is_shard_reference
from asr.tokenizer import Tokenizer


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
        spoken = [self._spoken(draw) for draw in draws]
        paths = [utterance.audio_filepath for utterances in spoken for utterance in utterances]
        waveforms = iter(self._waveforms(paths))
        return [
            self._example(draw, utterances, [next(waveforms) for _ in utterances])
            for draw, utterances in zip(draws, spoken, strict=True)
        ]

    def _spoken(self, draw: Draw) -> list[Utterance]:
        """Give the utterance, and what is joined to it."""
        places = (draw.utterance, draw.follower)
        return [self.utterances[place] for place in places if place >= 0]

    def _waveforms(self, paths: Sequence[str]) -> list[Samples]:
        """Read audio from files and shards; what lies in shards is asked for all at once."""
        far = [path for path in paths if is_shard_reference(path)]
        read = dict(zip(far, self.shards.waveforms(far, self.sample_rate), strict=True))
        return [
            read[path] if path in read else load_waveform(path, self.sample_rate) for path in paths
        ]

    def _example(
        self, draw: Draw, utterances: Sequence[Utterance], waveforms: Sequence[Samples]
    ) -> Example:
        text = " ".join(utterance.text for utterance in utterances if utterance.text)
        waveform, tokens = waveforms[0], self.transcripts[draw.utterance]
        if draw.follower >= 0:
            waveform = np.concatenate(waveforms)
            tokens = torch.tensor(self.tokenizer.encode(text), dtype=torch.int64)
        if self.speed:
            waveform = self.speed(waveform, draw.seed)
        for change in self.sound:
            waveform = change(waveform, draw.seed, draw.utterance)
        return Example(
            "+".join(utterance.id for utterance in utterances),
            text,
            torch.from_numpy(waveform),
            tokens,
            draw.seed,
            draw.weight,
            draw.total,
        )

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
