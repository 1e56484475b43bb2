"""A guide that cannot hear far tells the encoder, while training, when each token is said."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from asr.ctc import guided_ctc_loss
from asr.decoding.options import DecoderOptions
from asr.errors import ConfigError
from asr.features import LogMel
from asr.mel import TYPICAL_STANDARD_DEVIATION
from asr.padding import length_mask, mask_padding
from asr.tokenizer import BLANK

# How far the guide hears to either side.
VIEW_SECONDS = 0.1
# Frames so far below the loudest one are silent, in decibels of the mean over bands.
SILENCE_DECIBELS = 40.0
# A shorter silence may be the closure of a stop, which belongs to its word.
LEAST_SILENCE_SECONDS = 0.1
# Neither do the frames next to speech count as silent.
SILENCE_EDGE_SECONDS = 0.04
# At first, tokens are expected at equal distances over what is not silent, give or take this share
# of it; this wanes over so many steps.
FLAT_SPREAD = 0.1
FLAT_STEPS = 200
_FLAT_MOST = -8.0
# What a token costs in a silent frame, and the most that it costs in any frame, as natural logs.
_IN_SILENCE = -20.0
_FAR_AWAY = -2.0
_DECIBELS_OF_NEPER = 4.342944819


@dataclass(frozen=True)
class Guidance:
    """What the guide has to say of a batch.

    Attributes:
        losses: ``(B,)``, its own.
        offsets: ``(B, U, V)``, for ``guided_ctc_loss`` of the encoder, without gradient: 0 where
            the guide is sure of a token and for blank and space, below 0 elsewhere.
    """

    losses: Tensor
    offsets: Tensor


class TimingGuide(nn.Module):
    """A small convolutional network that learns the tokens from a fifth of a second around each.

    CTC does not care when an encoder tells a token, and a recurrent one, which has read everything,
    tells it anywhere. The guide cannot: what it hears is there. The encoder's CTC loss counts those
    alignments most that agree with the guide's up to a frame. Nothing of it is needed afterwards.

    It only judges by sound, and the closure of a stop sounds like the silence before a word. So
    long silences are kept free of tokens. And from a poor beginning it may settle a whole token too
    early or too late everywhere; so it begins, as hidden Markov models do, from tokens of equal
    lengths.

    Source: known alignments bound the paths of CTC in the option ``delayConstraint`` of CNTK's
    ``forwardBackward``; here the alignments are learned in passing.

    Args:
        features: tells the bands and the distance of frames.
        pieces: what each token stands for, the blank's the first.
        subsampling: feature frames of an encoder frame.
        channels: size of the network's frames.
        margin: encoder frames by which the encoder may deviate.

    Raises:
        ConfigError: no channel, or a margin below 0.
    """

    steps: Tensor

    def __init__(
        self,
        features: LogMel,
        pieces: Sequence[str],
        subsampling: int,
        channels: int = 96,
        margin: int = 1,
    ) -> None:
        super().__init__()
        if channels < 1 or margin < 0:
            raise ConfigError(
                f"auxiliary.guide.channels is {channels} and margin is {margin}; expected 1 or "
                "more, and 0 or more"
            )
        self.margin = margin
        # A space between words makes no sound: where it is told is the encoder's own affair.
        self.silent_tokens = [
            token for token, piece in enumerate(pieces) if token == BLANK or not piece.strip()
        ]
        self.subsampling = subsampling
        hop_seconds = features.hop / features.sample_rate
        self.frame_seconds = subsampling * hop_seconds
        self.least_silence = round(LEAST_SILENCE_SECONDS / hop_seconds)
        self.silence_edge = round(SILENCE_EDGE_SECONDS / hop_seconds)
        self.first = nn.Conv1d(features.n_mels, channels, 5, stride=subsampling, padding=2)
        # Two further ones share the rest of the view.
        side = max(1, round((VIEW_SECONDS / hop_seconds - 2) / (2 * subsampling)))
        self.others = nn.ModuleList(
            nn.Conv1d(channels, channels, 2 * side + 1, padding=side) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))
        self.head = nn.Linear(channels, len(pieces))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def timed(self, options: DecoderOptions) -> DecoderOptions:
        """Time words as an encoder that was guided needs it: from a frame before their tokens.

        A token is heard best a moment after its beginning; `asr tune` fits how long.

        Args:
            options: what else the decoder of the model will have.
        """
        return replace(options, word_offset_seconds=-self.frame_seconds, word_reach_seconds=0.0)

    def forward(
        self, features: Tensor, lengths: Tensor, tokens: Tensor, token_lengths: Tensor
    ) -> Guidance:
        """Align a batch and learn from it.

        Args:
            features: ``(B, T, F)``, normalised and not augmented.
            lengths: ``(B,)``, int64, in feature frames.
            tokens: ``(B, L)``, int64.
            token_lengths: ``(B,)``, int64.
        """
        counts = (lengths + self.subsampling - 1) // self.subsampling
        hidden = self._layer(self.first, 0, mask_padding(features, lengths), counts)
        for number, convolution in enumerate(self.others, start=1):
            hidden = hidden + self._layer(convolution, number, hidden, counts)
        log_probs = torch.log_softmax(self.head(hidden).float(), dim=-1)
        quiet = self.silence(features, lengths)[:, :: self.subsampling]
        offsets = torch.zeros_like(log_probs, requires_grad=False)
        if self.training:
            self.steps += 1
        strength = 1 - float(self.steps) / FLAT_STEPS
        if strength > 0:
            speech = ~quiet & length_mask(counts, quiet.shape[1])
            offsets += strength * self._flat(speech, tokens, token_lengths, log_probs.shape[2])
        offsets[quiet] = _IN_SILENCE
        offsets[..., BLANK] = 0.0
        found, occupancy = guided_ctc_loss(log_probs, counts, tokens, token_lengths, offsets)
        return Guidance(found.losses, self._offsets(occupancy))

    def _layer(self, convolution: nn.Module, number: int, frames: Tensor, counts: Tensor) -> Tensor:
        output = convolution(frames.transpose(1, 2)).transpose(1, 2)
        return mask_padding(torch.relu(self.norms[number](output)), counts)

    def _flat(
        self, speech: Tensor, tokens: Tensor, token_lengths: Tensor, vocabulary_size: int
    ) -> Tensor:
        """Give what tokens cost away from where they would stand if all took equally long."""
        share = speech.cumsum(dim=1) / speech.sum(dim=1, keepdim=True).clamp_min(1)
        places = torch.arange(tokens.shape[1], device=tokens.device) + 0.5
        places = places / token_lengths.clamp_min(1).unsqueeze(1)
        cost = -0.5 * ((share.unsqueeze(2) - places.unsqueeze(1)) / FLAT_SPREAD).square()
        # Behind a transcript stands the blank's number, whose costs are not used.
        owners = tokens.masked_fill(~length_mask(token_lengths, tokens.shape[1]), BLANK)
        found = cost.new_full((*speech.shape, vocabulary_size), _FLAT_MOST)
        index = owners.unsqueeze(1).expand_as(cost)
        return found.scatter_reduce(2, index, cost, "amax").clamp_min(_FLAT_MOST)

    def _offsets(self, occupancy: Tensor) -> Tensor:
        # Most that a frame or its neighbours stand for the token.
        near = nn.functional.max_pool1d(
            occupancy.transpose(1, 2), 2 * self.margin + 1, stride=1, padding=self.margin
        ).transpose(1, 2)
        offsets = near.log().clamp_min(_FAR_AWAY)
        offsets[..., self.silent_tokens] = 0.0
        return offsets

    def silence(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Find long silences.

        Args:
            features: ``(B, T, F)``, normalised by ``LogMel``.
            lengths: ``(B,)``, int64, in frames.

        Returns:
            ``(B, T)``, True within a silence, but for its edges.
        """
        real = length_mask(lengths, features.shape[1])
        # Taking away each band's mean moves all frames alike.
        level = features.mean(dim=-1) * TYPICAL_STANDARD_DEVIATION * _DECIBELS_OF_NEPER
        loudest = level.masked_fill(~real, -torch.inf).amax(dim=1, keepdim=True)
        # What lies beyond either end is silent too.
        quiet = ((level < loudest - SILENCE_DECIBELS) | ~real).float()
        half = self.least_silence // 2
        long = _spread(_shrink(quiet, half), half)
        return (_shrink(long, self.silence_edge) > 0) & real


def _spread(mask: Tensor, frames: int) -> Tensor:
    """Make every run of ones in ``(B, T)`` longer at either end."""
    size = 2 * frames + 1
    return nn.functional.max_pool1d(mask.unsqueeze(1), size, stride=1, padding=frames).squeeze(1)


def _shrink(mask: Tensor, frames: int) -> Tensor:
    """Make every run of ones shorter at either end, but not where the utterance ends."""
    return 1 - _spread(1 - mask, frames)
