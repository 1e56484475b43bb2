"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(2)


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech, where there is one."""
    place = os.environ.get("ASR_SPEECH")
    if not place:
        pytest.skip("ASR_SPEECH names no folder of real speech")
    return Path(place)
