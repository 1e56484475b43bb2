"""Fixtures that several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from mirrors import make_archives

from asr.corpora.reading import SpokenSplit, read_aloud
from asr.corpora.spoken import SPOKEN_SCRIPT

# Two test processes on two cores wait for each other's threads most of the time.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """Undo what a test leaves in the environment; Lightning writes where it found its main rank."""
    with mock.patch.dict(os.environ):
        yield


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech, where there is one."""
    place = os.environ.get("ASR_SPEECH")
    if not place:
        pytest.skip("ASR_SPEECH names no folder of real speech")
    return Path(place)


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two splits and four synthetic speakers in LibriSpeech's layout."""
    root = tmp_path_factory.mktemp("spoken")
    splits = {"dev-clean": SpokenSplit(2, 4), "train-clean-5": SpokenSplit(2, 25)}
    read_aloud(root, SPOKEN_SCRIPT, splits, jobs=1)
    return root / "LibriSpeech"


@pytest.fixture(scope="session")
def archives(spoken: Path) -> dict[str, bytes]:
    """The archives of that corpus, by their paths on a mirror."""
    return make_archives(spoken)
