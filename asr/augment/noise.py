"""Noise under the speech: white, other voices, or recordings, at a signal-to-noise ratio."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.audio import load_waveform, probe_audio
from asr.augment.sound import SoundAugmentation, check_range
from asr.errors import ConfigError
from asr.excerpt import load_excerpt
from asr.inputs import MEDIA_SUFFIXES
from asr.manifest import CompactUtterances, Utterance, read_manifest
from asr.resampling import Samples


def mix(waveform: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise to a waveform.

    Args:
        waveform: ``(S,)`` float32.
        noise: ``(S,)`` float32, of any level.
        snr_db: energy of the waveform over energy of what is added, in dB.

    Returns:
        ``(S,)`` float32; the waveform itself where either is silent.

    Source: the ratio of energies over the whole utterance, as in
    ``torchaudio.functional.add_noise``.
    """
    speech, added = float(np.dot(waveform, waveform)), float(np.dot(noise, noise))
    if not speech or not added:
        return waveform
    gain = np.sqrt(speech / added * 10 ** (-snr_db / 10))
    return waveform + np.float32(gain) * noise


class AdditiveNoise(SoundAugmentation):
    """Noise at a signal-to-noise ratio that is drawn evenly from a range.

    Args:
        probability: of noise, for each utterance in each epoch.
        snr_db: the range, from and to, in dB.
    """

    def __init__(self, probability: float, snr_db: tuple[float, float]) -> None:
        super().__init__(probability)
        check_range(snr_db, -30, 100, f"{self.where}.snr_db")
        self.snr_db = snr_db

    def change(self, waveform: Samples, generator: np.random.Generator, index: int) -> Samples:
        snr_db = generator.uniform(*self.snr_db)
        return mix(waveform, self.noise(len(waveform), generator, index), snr_db)

    @abstractmethod
    def noise(self, samples: int, generator: np.random.Generator, index: int) -> Samples:
        """Make noise.

        Args:
            samples: its length.
            generator: of the utterance.
            index: the utterance's position in the manifest.

        Returns:
            ``(samples,)`` float32, of any level.
        """


class WhiteNoise(AdditiveNoise):
    """Gaussian noise, as strong at all frequencies.

    Args:
        probability: of noise, for each utterance in each epoch.
        snr_db: the range of the signal-to-noise ratio, in dB.
    """

    where = "augment.noise.white"
    stream = 2

    def __init__(self, probability: float, snr_db: tuple[float, float] = (10.0, 30.0)) -> None:
        super().__init__(probability, snr_db)

    def noise(self, samples: int, generator: np.random.Generator, index: int) -> Samples:
        return generator.standard_normal(samples, np.float32)


class Babble(AdditiveNoise):
    """Other utterances of the training set, equally loud and all at once.

    Of a longer utterance any stretch is taken; a shorter one begins anywhere and starts over where
    it ends.

    Args:
        utterances: the training set, in files.
        sample_rate: of the waveforms, in Hz.
        probability: of babble, for each utterance in each epoch.
        snr_db: the range of the ratio of speech to all voices together, in dB.
        voices: the least and the most that speak at once.

    Source: Snyder et al. 2018, "X-vectors: robust DNN embeddings for speaker recognition", with
    three to seven voices of MUSAN at 13 to 20 dB, in Kaldi's egs/sre16/v2/run.sh. There each voice
    has that ratio, here the sum.
    """

    where = "augment.noise.babble"
    stream = 3

    def __init__(
        self,
        utterances: Sequence[Utterance],
        sample_rate: int,
        probability: float,
        snr_db: tuple[float, float] = (13.0, 20.0),
        voices: tuple[int, int] = (3, 7),
    ) -> None:
        super().__init__(probability, snr_db)
        self.utterances = CompactUtterances.of(utterances)
        self.sample_rate = sample_rate
        check_range(voices, 1, 100, f"{self.where}.voices")
        if voices[1] >= len(self.utterances):
            raise ConfigError(
                f"{self.where}.voices is {list(voices)}, but there are {len(self.utterances)} "
                "utterances to draw from; ask for fewer"
            )
        self.voices = voices

    def noise(self, samples: int, generator: np.random.Generator, index: int) -> Samples:
        count = generator.integers(self.voices[0], self.voices[1] + 1)
        others = generator.choice(len(self.utterances) - 1, count, replace=False)
        babble = np.zeros(samples, np.float32)
        for other in others.tolist():
            # All but the utterance itself.
            voice = stretch(
                self.utterances[other + (other >= index)], samples, self.sample_rate, generator
            )
            if energy := float(np.dot(voice, voice)):
                babble += voice * np.float32(energy**-0.5)
        return babble


class RecordedNoise(AdditiveNoise):
    """Recordings of noise: any stretch of a long one, and a short one again and again.

    Args:
        sample_rate: of the waveforms, in Hz.
        source: a manifest of the recordings, or a folder that is searched with all below it.
        probability: of noise, for each utterance in each epoch.
        snr_db: the range of the signal-to-noise ratio, in dB.

    Raises:
        ConfigError: neither file nor folder, or no recording in it.
        ManifestError, AudioError: a manifest or recording is broken.

    Source: the range holds the ratios of 0, 5, 10 and 15 dB at which Kaldi's egs/sre16/v2/run.sh
    adds MUSAN's noises.
    """

    where = "augment.noise.recordings"
    stream = 4

    def __init__(
        self,
        sample_rate: int,
        source: str,
        probability: float,
        snr_db: tuple[float, float] = (0.0, 15.0),
    ) -> None:
        super().__init__(probability, snr_db)
        self.sample_rate = sample_rate
        self.recordings = CompactUtterances(_recordings(Path(source), f"{self.where}.source"))

    def noise(self, samples: int, generator: np.random.Generator, index: int) -> Samples:
        recording = self.recordings[int(generator.integers(len(self.recordings)))]
        return stretch(recording, samples, self.sample_rate, generator)


def stretch(
    recording: Utterance, samples: int, sample_rate: int, generator: np.random.Generator
) -> Samples:
    """Read any stretch of a recording; a shorter one begins anywhere and starts over at its end.

    Args:
        recording: the file and its duration.
        samples: length of the stretch.
        sample_rate: of the stretch, in Hz.
        generator: tells where it begins.

    Returns:
        ``(samples,)`` float32.

    Raises:
        AudioError: the file is missing, damaged, or shorter than it was.
    """
    place = generator.random()
    seconds = samples / sample_rate
    if recording.duration > seconds:
        start = place * (recording.duration - seconds)
        # Rounding may cost a sample at the end.
        return repeated(
            load_excerpt(recording.audio_filepath, sample_rate, start, seconds), 0, samples
        )
    whole = load_waveform(recording.audio_filepath, sample_rate)
    return repeated(whole, int(place * len(whole)), samples)


def repeated(sound: Samples, start: int, samples: int) -> Samples:
    """Take a stretch of a sound that starts over whenever it ends.

    Args:
        sound: ``(S,)``.
        start: where the stretch begins, within the sound.
        samples: its length.
    """
    if start + samples <= len(sound):
        return sound[start : start + samples]
    return np.resize(np.roll(sound, -start), samples)


def _recordings(source: Path, where: str) -> list[Utterance]:
    if source.is_dir():
        paths = sorted(path for path in source.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES)
        if not paths:
            raise ConfigError(f"{where} is {source}, a folder without any recording")
        return [
            Utterance(str(path), str(path.absolute()), probe_audio(path).duration_seconds, "")
            for path in paths
        ]
    if not source.is_file():
        raise ConfigError(f"{where} is {source}; expected a manifest of recordings, or a folder")
    return read_manifest(source)
