"""The language model that writes programs: loading, prefill, latent steps, decoding, fine-tuning.

Read `engine` and `latent_steps` first.  Knows nothing of verdicts or rewards.
"""
