"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest
import torch

# Two test processes on two cores wait for each other's threads most of the time.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def speech() -> Path:
    """The folder of real speech, where there is one."""
    place = os.environ.get("ASR_SPEECH")
    if not place:
        pytest.skip("ASR_SPEECH names no folder of real speech")
    return Path(place)
