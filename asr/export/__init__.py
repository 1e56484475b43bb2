"""Trained models become ONNX graphs that run without torch."""
