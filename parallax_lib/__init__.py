"""Parallax: reward-guided latent reasoning for parallel code translation (serial C++, OpenMP, CUDA)."""

__version__ = "0.1.0"
