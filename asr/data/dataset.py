"""The dataset reads audio and encodes transcripts, in worker processes."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from asr.audio import load_waveform
from asr.augment import SpeedPerturbation
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
    ) -> None:
        # Forked workers share large buffers; lists of objects they would copy, page by page.
        self.utterances = CompactUtterances.of(utterances)
        self.sample_rate = sample_rate
        self.speed = speed
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
        utterances = [self.utterances[draw.utterance] for draw in draws]
        waveforms = self._waveforms([utterance.audio_filepath for utterance in utterances])
        return [
            self._example(draw, utterance, waveform)
            for draw, utterance, waveform in zip(draws, utterances, waveforms, strict=True)
        ]

    def _waveforms(self, paths: Sequence[str]) -> list[Samples]:
        """Read audio from files and shards; what lies in shards is asked for all at once."""
        far = [path for path in paths if is_shard_reference(path)]
        read = dict(zip(far, self.shards.waveforms(far, self.sample_rate), strict=True))
        return [
            read[path] if path in read else load_waveform(path, self.sample_rate) for path in paths
        ]

    def _example(self, draw: Draw, utterance: Utterance, waveform: Samples) -> Example:
        if self.speed:
            waveform = self.speed(waveform, draw.seed)
        return Example(
            utterance.id,
            utterance.text,
            torch.from_numpy(waveform),
            self.transcripts[draw.utterance],
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
