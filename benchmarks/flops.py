"""Floating-point operations of a HuBERT by its sizes: what has to be computed, whatever computes it.

Only products are counted, two operations for each multiplication with its addition: matrix products, convolutions and
attention. Norms, activations and optimizers are bytes rather than operations.
"""

# What the backward pass costs, in forward passes: the gradients of the weights, and those of the inputs.
WEIGHTS, INPUTS = 1, 1


def frames(config, n_samples):
    """Count the frames of a clip after each convolution of the feature encoder."""
    counts = []
    for kernel, stride in zip(config["conv_kernel"], config["conv_stride"]):
        n_samples = (n_samples - kernel) // stride + 1
        counts.append(n_samples)
    return counts


def forward_flops(config, n_samples, n_layers, first_frame):
    """Count the operations of one clip's forward pass.

    Arguments
    ---------
    config : dict
        Sizes, under the names of `transformers.HubertConfig`.
    n_samples : int
        Length of the clip.
    n_layers : int
        Transformer layers that are run.
    first_frame : bool
        Whether the last of them is asked for its first frame alone: keys and values of all frames, the rest of one.

    Returns
    -------
    dict
        Part of the model ("feature_encoder", "projection", "position", "layers") -> operations.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    counts, channels = frames(config, n_samples), [1, *config["conv_dim"]]
    n = counts[-1]
    feature_encoder = sum(
        2 * f * c * d * k for f, c, d, k in zip(counts, channels, channels[1:], config["conv_kernel"])
    )
    groups, taps = config.get("num_conv_pos_embedding_groups", 16), config.get("num_conv_pos_embeddings", 128)

    def layer(n_queries):
        # queries and output, keys and values, both products of attention, both of the feed-forward
        return 4 * n_queries * width**2 + 4 * n * width**2 + 4 * n_queries * n * width + 4 * n_queries * width * inner

    return {
        "feature_encoder": feature_encoder,
        "projection": 2 * n * config["conv_dim"][-1] * width,
        "position": 2 * n * width * (width // groups) * taps,
        "layers": (n_layers - 1) * layer(n) + layer(1 if first_frame else n),
    }


def training_flops(config, n_samples, n_layers, first_frame, trained_feature_encoder, n_forward_only=0):
    """Count the operations of one clip's training step, forward and backward.

    Arguments
    ---------
    config, n_samples, n_layers, first_frame
        As in `forward_flops`.
    trained_feature_encoder : bool
        Whether the convolutional feature encoder gets gradients.
    n_forward_only : int
        Further layers that are run and get no gradient, since the loss does not depend on them.

    Returns
    -------
    int
        Operations.
    """
    found = forward_flops(config, n_samples, n_layers, first_frame)
    below, above = (forward_flops(config, n_samples, n, False)["layers"] for n in (n_layers, n_layers + n_forward_only))
    first_conv = 2 * frames(config, n_samples)[0] * config["conv_dim"][0] * config["conv_kernel"][0]
    return (
        found["feature_encoder"] * (1 + (WEIGHTS + INPUTS if trained_feature_encoder else 0))
        - (INPUTS * first_conv if trained_feature_encoder else 0)  # nothing asks for the waveform's gradient
        + found["projection"] * (1 + WEIGHTS + (INPUTS if trained_feature_encoder else 0))
        + (found["position"] + found["layers"]) * (1 + WEIGHTS + INPUTS)
        + above
        - below
    )


def n_parameters(config, n_layers):
    """Count the weights of an encoder of `n_layers` layers, without a LayerNorm after the last and a masked frame."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    channels = [1, *config["conv_dim"]]
    bias = 1 if config["conv_bias"] else 0
    feature_encoder = sum(c * d * k + (2 + bias) * d for c, d, k in zip(channels, channels[1:], config["conv_kernel"]))
    groups, taps = config.get("num_conv_pos_embedding_groups", 16), config.get("num_conv_pos_embeddings", 128)
    projection = 2 * channels[-1] + channels[-1] * width + width
    position = width * (width // groups) * taps + taps + width  # weight-normed: a gain for each tap
    layer = 4 * (width**2 + width) + 2 * width * inner + inner + width + 4 * width
    return feature_encoder + projection + position + n_layers * layer
