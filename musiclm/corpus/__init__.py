"""The reference corpus: music the project composes itself, with exact labels."""
