"""One direction of a GRU layer as machine code of its own, which LLVM makes when a model is loaded.

Only this part imports llvmlite, which is in the extra ``export``.
"""
