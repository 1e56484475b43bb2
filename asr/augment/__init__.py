"""Augmentation whose every draw follows from a seed per utterance, whatever batch it is in."""

from asr.augment.joining import UtteranceJoining
from asr.augment.noise import Babble, RecordedNoise, WhiteNoise
from asr.augment.room import Room
from asr.augment.seed import utterance_seed
from asr.augment.sound import SoundAugmentation
from asr.augment.spectrum import Equalizer, FrequencyWarp, SpecAugment
from asr.augment.speed import SpeedPerturbation
from asr.augment.splicing import Run, WordSplicing

__all__ = [
    "Babble",
    "Equalizer",
    "FrequencyWarp",
    "RecordedNoise",
    "Room",
    "Run",
    "SoundAugmentation",
    "SpecAugment",
    "SpeedPerturbation",
    "UtteranceJoining",
    "WhiteNoise",
    "WordSplicing",
    "utterance_seed",
]
