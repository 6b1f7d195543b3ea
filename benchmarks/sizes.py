"""The two sizes that are measured, ours and the peers' alike."""

from musiclm.stages.transformer import TransformerConfig

SIZES = {
    "small": TransformerConfig(width=512, layers=8, heads=8, feed_forward=2048, dropout=0.0),
    "paper": TransformerConfig(
        width=1024, layers=24, heads=16, feed_forward=4096, dropout=0.0
    ),  # MusicLM, 4.1
}
CODEBOOK_SIZE = 1024
