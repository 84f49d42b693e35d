"""HuBERT-Large's architecture at two small sizes: the configurations that the tests share."""

# The feature encoder and layers of HuBERT-Large, narrow: a frame each 20 ms, as in the real one.
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
# As small as it goes, with two convolutions: a clip of 0.1 s makes 4 frames.
TINY = {
    **SMALL,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [8, 8],
    "conv_kernel": [400, 4],
    "conv_stride": [160, 2],
    "num_conv_pos_embeddings": 4,
}
