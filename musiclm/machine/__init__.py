"""The machine that it runs on: its CPUs, its GPU, its memory."""
