"""Diffusion over continuous latents: the process, the denoisers, and how they are sampled."""
