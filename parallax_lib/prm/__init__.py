"""The process reward model: labels, losses, backbones, training, scoring of latent prefixes.

Knows latents as tensors and rewards as numbers.  Knows nothing of how candidates are made.
"""
