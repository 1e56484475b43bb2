"""Augmentation whose every draw follows from a seed per utterance, whatever batch it is in."""

from asr.augment.joining import UtteranceJoining
from asr.augment.noise import Babble, RecordedNoise, WhiteNoise
from asr.augment.room import Room
from asr.augment.seed import utterance_seed
from asr.augment.sound import SoundAugmentation
from asr.augment.spectrum import Equalizer, FrequencyWarp, SpecAugment
from asr.augment.speed import SpeedPerturbation

__all__ = [
    "Babble",
    "Equalizer",
    "FrequencyWarp",
    "RecordedNoise",
    "Room",
    "SoundAugmentation",
    "SpecAugment",
    "SpeedPerturbation",
    "UtteranceJoining",
    "WhiteNoise",
    "utterance_seed",
]
