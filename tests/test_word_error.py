"""Expected word errors and their gradient, against a sum over all alignments in NumPy."""

from itertools import groupby, product

import jiwer
import numpy as np
import pytest
import torch
from torch import Tensor

from asr.errors import ConfigError
from asr.tokenizer import CharacterTokenizer
from asr.training.word_error import (
    WordErrorLoss,
    count_word_errors,
    draw_alignments,
    expected_errors,
)

TOKENIZER = CharacterTokenizer(" A")
FRAMES, VOCABULARY = 3, 3
PATHS = list(product(range(VOCABULARY), repeat=FRAMES))
REFERENCE = "A A"


def said(path: tuple[int, ...]) -> str:
    """Collapse an alignment by Graves et al. 2006, equation 4, with another tool."""
    return "".join(["", " ", "A"][token] for token, _ in groupby(path)).strip()


def log_probs_of(seed: int) -> tuple[Tensor, np.ndarray]:
    logits = 2 * np.random.default_rng(seed).standard_normal((FRAMES, VOCABULARY))
    chance = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    leaf = torch.tensor(logits[None], dtype=torch.float64, requires_grad=True)
    return leaf, chance


def errors_of(path: tuple[int, ...]) -> int:
    found = jiwer.process_words(REFERENCE, said(path))
    return found.substitutions + found.deletions + found.insertions


ERRORS = np.array([errors_of(path) for path in PATHS], dtype=np.float64)


def test_errors_of_every_alignment_are_those_of_jiwer():
    alignments = torch.tensor(PATHS).T[None]
    counted = count_word_errors(alignments, torch.tensor([FRAMES]), [REFERENCE], TOKENIZER)
    assert counted[0].tolist() == ERRORS.tolist()
    assert set(ERRORS) == {0, 1, 2}
    # What is drawn behind the end is not heard.
    padded = torch.nn.functional.pad(alignments, (0, 0, 0, 2), value=2)
    again = count_word_errors(padded, torch.tensor([FRAMES]), [REFERENCE], TOKENIZER)
    assert torch.equal(again, counted)


def test_the_gradient_of_two_samples_is_on_average_that_of_all_alignments():
    leaf, chance = log_probs_of(0)
    likely = np.array([np.prod([chance[t, k] for t, k in enumerate(path)]) for path in PATHS])
    # d/dz of the sum over alignments of likelihood times errors.
    picked = np.eye(VOCABULARY)[np.array(PATHS)] - chance
    gradient = np.einsum("p,ptk->tk", likely * ERRORS, picked)
    # All pairs of samples, each as likely as it is, make the average exact.
    pairs = list(product(range(len(PATHS)), repeat=2))
    weights = torch.tensor([likely[a] * likely[b] for a, b in pairs])
    alignments = torch.tensor([[PATHS[a], PATHS[b]] for a, b in pairs]).transpose(1, 2)
    errors = torch.tensor(np.array([[ERRORS[a], ERRORS[b]] for a, b in pairs]))
    log_probs = torch.log_softmax(leaf, dim=-1).expand(len(pairs), -1, -1)
    lengths = torch.full((len(pairs),), FRAMES)
    mean = (expected_errors(log_probs, lengths, alignments, errors) * weights).sum()
    assert mean.item() == pytest.approx(float(likely @ ERRORS), rel=1e-12)
    mean.backward()
    np.testing.assert_allclose(leaf.grad[0].numpy(), gradient, atol=1e-12)


def test_many_samples_come_near_the_sum_over_all_alignments():
    leaf, chance = log_probs_of(1)
    likely = np.array([np.prod([chance[t, k] for t, k in enumerate(path)]) for path in PATHS])
    torch.manual_seed(0)
    # Padding holds what would add errors.
    log_probs = torch.nn.functional.pad(torch.log_softmax(leaf, dim=-1), (0, 0, 0, 2), value=-1.1)
    loss = WordErrorLoss(TOKENIZER, samples=4000)(log_probs, torch.tensor([FRAMES]), [REFERENCE])
    # Five standard errors.
    deviation = np.sqrt(likely @ ERRORS**2 - (likely @ ERRORS) ** 2)
    assert loss.item() == pytest.approx(float(likely @ ERRORS), abs=5 * deviation / 4000**0.5)
    drawn = draw_alignments(log_probs[:, :FRAMES].detach(), 4000)[0]
    for frame in range(FRAMES):
        shares = np.bincount(drawn[frame].numpy(), minlength=VOCABULARY) / 4000
        np.testing.assert_allclose(shares, chance[frame], atol=0.04)


def test_who_is_sure_learns_nothing():
    leaf = torch.zeros(1, FRAMES, VOCABULARY)
    leaf[0, [0, 1, 2], [2, 1, 2]] = 200.0
    leaf.requires_grad_()
    loss = WordErrorLoss(TOKENIZER)(
        torch.log_softmax(leaf, dim=-1), torch.tensor([FRAMES]), [REFERENCE]
    )
    assert loss.tolist() == [0.0]
    loss.sum().backward()
    assert not leaf.grad.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1}, "word_error.samples is 1; expected 2 or more"),
        ({"weight": 1.0}, r"word_error.weight is 1.0; expected a share within \(0, 1\)"),
    ],
)
def test_impossible_values_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        WordErrorLoss(TOKENIZER, **options)
