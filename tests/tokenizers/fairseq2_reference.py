"""What tests take from fairseq2 to compare with. As in the product, soundfile comes first."""

from musiclm.tokenizers.fairseq2_models import BatchLayout, create_w2vbert_model, w2v_bert_config

# isort: split
from fairseq2.data.audio import WaveformToFbankConverter
from fairseq2.models.w2vbert import get_w2vbert_model_hub
from fairseq2.models.wav2vec2 import GumbelWav2Vec2VectorQuantizer

__all__ = [
    "BatchLayout",
    "GumbelWav2Vec2VectorQuantizer",
    "WaveformToFbankConverter",
    "create_w2vbert_model",
    "get_w2vbert_model_hub",
    "w2v_bert_config",
]
