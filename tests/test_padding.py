"""Padded batches, lengths and masks."""

import torch

from asr.padding import length_mask, mask_padding, pad_sequences


def test_shorter_sequences_get_zeros_behind_them():
    batch, lengths = pad_sequences([torch.tensor([1, 2, 3]), torch.tensor([4]), torch.tensor([])])
    assert batch.tolist() == [[1, 2, 3], [4, 0, 0], [0, 0, 0]]
    assert lengths.tolist() == [3, 1, 0]
    assert lengths.dtype == torch.int64


def test_further_dimensions_are_kept():
    batch, lengths = pad_sequences([torch.ones(2, 5), torch.ones(4, 5)])
    assert batch.shape == (2, 4, 5)
    assert batch.sum(dim=(1, 2)).tolist() == [10, 20]
    assert lengths.tolist() == [2, 4]


def test_the_mask_is_true_where_a_position_is_real():
    assert length_mask(torch.tensor([0, 2, 3]), 3).int().tolist() == [[0, 0, 0], [1, 1, 0], [1] * 3]


def test_padding_becomes_zero_even_where_it_was_nan():
    batch = torch.full((2, 3, 2, 2), float("nan"))
    batch[0] = 1.0
    batch[1, :1] = 2.0
    masked = mask_padding(batch, torch.tensor([3, 1]))
    assert masked[0].eq(1).all()
    assert masked[1, :1].eq(2).all()
    assert masked[1, 1:].eq(0).all()


def test_nan_in_padding_has_no_gradient():
    batch = torch.tensor([[1.0, float("nan")]], requires_grad=True)
    mask_padding(batch, torch.tensor([1])).square().sum().backward()
    assert batch.grad.tolist() == [[2.0, 0.0]]
