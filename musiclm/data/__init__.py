"""Audio files to tensors and tokens: sources, crops, tokenization, the token store."""
