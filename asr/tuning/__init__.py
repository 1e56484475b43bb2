"""Tuning finds a decoder's weights on a development set from log-probabilities computed once."""
