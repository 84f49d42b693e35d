"""A small configuration of each family of encoders, and checkpoints of them as the Hub has them."""

import json

import torch
import transformers

from speechbrain_ext.lobes.families import get_family
from speechbrain_ext.lobes.pretrained import transformers_class
from tests.tiny_hubert import SMALL

TRANSFORMER = {key: SMALL[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
WAVEFORM = {**TRANSFORMER, "intermediate_size": 64, "conv_dim": [16] * 7}
LARGE = {**SMALL, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
BASE = {**SMALL, "feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
# Name of the case -> (model_type, configuration of transformers).
ENCODERS = {
    "hubert": ("hubert", LARGE),
    "hubert-base": ("hubert", BASE),
    "wav2vec2": ("wav2vec2", LARGE),
    "wav2vec2-adapters": ("wav2vec2", {**LARGE, "adapter_attn_dim": 4}),
    "wavlm": ("wavlm", {**LARGE, "num_buckets": 16, "max_bucket_distance": 20}),
    "wavlm-base": ("wavlm", {**BASE, "num_buckets": 16, "max_bucket_distance": 20}),
    "unispeech": ("unispeech", LARGE),
    "unispeech-sat": ("unispeech-sat", LARGE),
    "data2vec-audio": (
        "data2vec-audio",
        {**WAVEFORM, "num_conv_pos_embeddings": 3, "num_conv_pos_embedding_groups": 4, "conv_pos_kernel_size": 5},
    ),
    "wav2vec2-bert": (
        "wav2vec2-bert",
        {
            **TRANSFORMER,
            "intermediate_size": 64,
            "left_max_position_embeddings": 6,
            "right_max_position_embeddings": 2,
            "conv_depthwise_kernel_size": 5,
        },
    ),
    "whisper": (
        "whisper",
        {
            "d_model": 32,
            "encoder_layers": 4,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_layers": 1,
            "decoder_attention_heads": 4,
            "decoder_ffn_dim": 32,
            "vocab_size": 20,
            "pad_token_id": 0,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "decoder_start_token_id": 0,
            "num_mel_bins": 80,
        },
    ),
}
PREPROCESSORS = {
    "wav2vec2-bert": {"feature_extractor_type": "SeamlessM4TFeatureExtractor", "feature_size": 80, "stride": 2},
    "whisper": {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80},
}


def make_config(name, **changes):
    """Make transformers' configuration of a case."""
    model_type, values = ENCODERS[name]
    return transformers_class(get_family(model_type).config_class)(**{**values, **changes})


def save_checkpoint(name, folder, **changes):
    """Save a checkpoint as the Hub has it, with weights that all matter; return its folder."""
    model_type, _ = ENCODERS[name]
    config = make_config(name, **changes)
    model_class = transformers.WhisperModel if model_type == "whisper" else transformers.AutoModel.from_config
    model = model_class(config)
    for key, parameter in model.named_parameters():
        if not key.endswith("original0") and "embed_positions" not in key:
            torch.nn.init.normal_(parameter, 1.0 if "norm.weight" in key else 0.0, 0.15)
    model.save_pretrained(folder)
    preprocessor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True}
    preprocessor = {**PREPROCESSORS.get(model_type, preprocessor), "sampling_rate": 16000}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor), encoding="utf-8")
    return folder
