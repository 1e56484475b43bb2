"""Where words begin and end in the training set, as the model in training hears them."""

from collections.abc import Sequence

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from asr.data import Batch
from asr.decoding.align import align
from asr.errors import AsrError, ConfigError
from asr.resampling import Samples
from asr.training.agreement import gathered
from asr.training.auxiliary import PhonemeLoss
from asr.training.data import SpeechData, data_of
from asr.training.module import CTCTraining

# How far before its first phoneme, and behind its last one, a transcript is taken to reach.
_LEAD_MS = 240
# Loudness is measured in windows of so long, at every millisecond.
_WINDOW_MS = 20


class WordEdges(Callback):
    """Searches, before some epochs, for the words that ``augment.splice`` is to put together.

    The phonemes of a transcript are aligned with the frames of the layer that tells them; a word
    is cut from the next one at the quietest place between its last phoneme and the other's first.

    Raises:
        ConfigError: no task for phonemes; without it words cannot be told apart.
    """

    def setup(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, stage: str
    ) -> None:
        assert isinstance(module, CTCTraining)
        if data_of(trainer).splice and module.phonemes is None:
            raise ConfigError(
                "augment.splice needs auxiliary.phonemes, by which words are found; add it, or "
                "take augment.join"
            )

    def on_train_epoch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule
    ) -> None:
        assert isinstance(module, CTCTraining)
        data = data_of(trainer)
        if data.splice is None or trainer.current_epoch not in data.splice.align_after:
            return
        edges = find_edges(module, data, trainer.is_global_zero)
        lost = [data.train_set.utterances.ids[i] for i, own in enumerate(edges) if not len(own)]
        if lost and trainer.is_global_zero:
            print(
                f"    the words of {len(lost)} utterances could not be found, these stay whole: "
                f"{', '.join(lost[:5])}",
                flush=True,
            )
        data.splice.edges = edges
        data.sampler.forget()


@torch.no_grad()
def find_edges(module: CTCTraining, data: SpeechData, shows: bool) -> list[np.ndarray]:
    """Find the edges of all words of the training set, each rank those of its part.

    Args:
        module: what has been trained so far.
        data: the training set.
        shows: whether there is a progress bar.

    Returns:
        As ``WordSplicing.edges`` takes them; empty for an utterance without an alignment.
    """
    assert module.phonemes
    places = {identity: place for place, identity in enumerate(data.train_set.utterances.ids)}
    edges = [np.zeros(0, np.int64) for _ in places]
    module.eval()
    loader = data.spoken_loader()
    bar = tqdm(loader, "aligning", leave=False, unit="batch", disable=not shows, delay=1)
    found: dict[str, np.ndarray] = {}
    for batch in bar:
        if isinstance(batch, AsrError):
            raise batch
        found.update(_batch_edges(module, module.phonemes, batch))
    module.train()
    for part in gathered(found):
        for identity, own in part.items():
            edges[places[identity]] = own
    return edges


def _batch_edges(module: CTCTraining, phonemes: PhonemeLoss, batch: Batch) -> dict[str, np.ndarray]:
    model, layer = module.model, phonemes.layer
    waveforms, sample_lengths = (
        each.to(module.device) for each in (batch.waveforms, batch.sample_lengths)
    )
    features, lengths = model.features(waveforms, sample_lengths)
    _, inner, lengths = model.with_inner_frames(features, lengths, {layer})
    log_probs = phonemes.log_probs(inner[layer]).cpu()
    frame_ms = 1000 * model.samples_per_frame / model.sample_rate
    found = {}
    for row, (identity, text) in enumerate(zip(batch.ids, batch.texts, strict=True)):
        said = [phonemes.said[word] for word in text.split()]
        frames = word_frames(log_probs[row, : lengths[row]].numpy(), said)
        if frames is not None:
            waveform = batch.waveforms[row, : batch.sample_lengths[row]].cpu().numpy()
            spans = (frames + 0.5) * frame_ms
            found[identity] = word_edges(waveform, model.sample_rate, spans)
    return found


def word_frames(log_probs: np.ndarray, said: Sequence[Sequence[int]]) -> np.ndarray | None:
    """Tell in which frames words are said.

    Args:
        log_probs: of the phonemes, ``(U, 1 + phonemes)``.
        said: the phonemes of each word.

    Returns:
        The frames of the first and the last phoneme of each of the n words, ``(n, 2)``; None where
        there is no word, a word without phonemes, or no alignment.
    """
    if not said or not all(said):
        return None
    alignment = align(log_probs, [phoneme for word in said for phoneme in word])
    if alignment is None:
        return None
    stops = np.cumsum([len(word) for word in said])
    firsts = np.array(alignment.first_frames)[stops - [len(word) for word in said]]
    return np.stack([firsts, np.array(alignment.last_frames)[stops - 1]], axis=1)


def word_edges(waveform: Samples, sample_rate: int, spans: np.ndarray) -> np.ndarray:
    """Find the quietest places between words.

    Args:
        waveform: ``(S,)`` float32.
        sample_rate: in Hz.
        spans: where the first and the last phoneme of each of the n words are heard, ``(n, 2)``, in
            milliseconds.

    Returns:
        ``(n + 1,)`` int64, in milliseconds: where each word begins and the last one ends.
    """
    loudness = _loudness(waveform, sample_rate)
    last = len(loudness) - 1
    reached = np.clip(np.round(spans).astype(np.int64), 0, last)
    begins = [max(0, reached[0, 0] - _LEAD_MS), *reached[:-1, 1]]
    ends = [reached[0, 0], *reached[1:, 0]]
    begins.append(reached[-1, 1])
    ends.append(min(last, reached[-1, 1] + _LEAD_MS))
    return np.array(
        [
            begin + int(loudness[begin : end + 1].argmin())
            for begin, end in zip(begins, ends, strict=True)
        ],
        np.int64,
    )


def _loudness(waveform: Samples, sample_rate: int) -> np.ndarray:
    """Measure the energy around each millisecond, ``(milliseconds + 1,)``."""
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    count = 1000 * len(waveform) // sample_rate
    centres = np.arange(count + 1) * sample_rate / 1000
    half = _WINDOW_MS * sample_rate / 2000
    upper = np.clip(np.round(centres + half).astype(np.int64), 0, len(waveform))
    lower = np.clip(np.round(centres - half).astype(np.int64), 0, len(waveform))
    loudness: np.ndarray = (energy[upper] - energy[lower]) / np.maximum(upper - lower, 1)
    return loudness
