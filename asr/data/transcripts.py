"""Transcripts as token ids, one behind the other in one buffer."""

from array import array
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from asr.errors import TokenizerError
from asr.manifest import Utterance
from asr.tokenizer import Tokenizer


class TokenizedTranscripts:
    """Token ids of all utterances of a manifest.

    Forked workers share large buffers; lists of objects they would copy, page by page.

    Args:
        tokens: the ids of all utterances, one utterance behind the other.
        ends: where each begins and the last one ends, ``(utterances + 1,)`` int64.
    """

    def __init__(self, tokens: np.ndarray, ends: np.ndarray) -> None:
        self._tokens, self._ends = tokens, ends

    @classmethod
    def encode(
        cls, utterances: Sequence[Utterance], tokenizer: Tokenizer
    ) -> "TokenizedTranscripts":
        """Encode transcripts, all at once, so that an unknown character stops what begins here.

        Args:
            utterances: their texts.
            tokenizer: encodes them.

        Raises:
            TokenizerError: a transcript with an unknown character; names utterance and character.
        """
        tokens = array("H" if tokenizer.vocabulary_size <= 1 << 16 else "L")
        ends = array("q", [0])
        for utterance in tqdm(utterances, "encoding transcripts", leave=False, delay=3):
            try:
                tokens.extend(tokenizer.encode(utterance.text))
            except TokenizerError as error:
                raise TokenizerError(f"utterance '{utterance.id}': {error}") from error
            ends.append(len(tokens))
        return cls(np.array(tokens), np.array(ends))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Tensor:
        """Give an utterance's token ids, ``(L,)`` int64."""
        start, stop = self._ends[index : index + 2]
        return torch.from_numpy(self._tokens[start:stop].astype(np.int64))

    @property
    def counts(self) -> np.ndarray:
        """The number of tokens of each utterance, ``(utterances,)`` int64."""
        return np.diff(self._ends)

    def required_frames(self) -> np.ndarray:
        """Count the frames that CTC needs: one a token and a blank between equal neighbours.

        Returns:
            ``(utterances,)`` int64, in encoder frames; what ``asr.ctc.required_frames`` gives for
            each.
        """
        starts, stops = self._ends[:-1], self._ends[1:]
        repeats = np.zeros(len(self._tokens) + 1, np.int64)
        # At place p the number of equal neighbours that end before p + 1.
        np.cumsum(self._tokens[1:] == self._tokens[:-1], out=repeats[1 : len(self._tokens)])
        inside = np.where(stops > starts, repeats[np.maximum(stops - 1, 0)] - repeats[starts], 0)
        needed: np.ndarray = stops - starts + inside
        return needed

    def chosen(self, indices: Sequence[int]) -> "TokenizedTranscripts":
        """Keep some of the utterances, in the given order."""
        parts = [self._tokens[self._ends[i] : self._ends[i + 1]] for i in indices]
        counts = np.array([len(part) for part in parts], np.int64)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return TokenizedTranscripts(np.concatenate([self._tokens[:0], *parts]), ends)
