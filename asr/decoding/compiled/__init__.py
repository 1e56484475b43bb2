"""The beam search and its scorers as machine code, which numba makes when it is first needed.

Only this part imports numba, which is in the extra ``fast``.
"""
