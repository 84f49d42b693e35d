"""BundleSettings: the plain values that a classifier is built from, each with its bounds.

The bounds are wider than any model needs. They refuse absurd values before anything is built from them.
"""

import dataclasses
from typing import Any, Optional

from speechbrain_ext.dataio.audio import WAVEFORM_SCALES, check_fixed_length
from speechbrain_ext.errors import InputError
from speechbrain_ext.limits import LARGEST_EMBEDDING, LONGEST_CLIP_S, MOST_LABELS, RATES_HZ, SHORTEST_S
from speechbrain_ext.lobes import filterbank_encoder
from speechbrain_ext.lobes.families import MODEL_TYPES, get_family
from speechbrain_ext.lobes.pretrained import transformers_class
from speechbrain_ext.lobes.truncated_encoder import LAYER_WEIGHTS, REDUCTIONS
from speechbrain_ext.rules import (
    PLAIN,
    TEXT,
    TRUTH,
    Rule,
    check_values,
    list_of,
    mapping_of,
    number,
    one_of,
    optional,
    shown,
    whole,
)

SETTINGS = {
    "emotions": list_of(TEXT, 2, MOST_LABELS),
    "sample_rate": whole(*RATES_HZ),
    "waveform_scale": one_of(*WAVEFORM_SCALES),
    "max_s": optional(number(SHORTEST_S, LONGEST_CLIP_S)),
    "fixed_length_s": optional(number(SHORTEST_S, LONGEST_CLIP_S)),
    "mask_padding": TRUTH,
    "layer_weights": one_of(*LAYER_WEIGHTS),
    "feature_reduction": one_of(*filter(None, REDUCTIONS)),
    "emb_dim": whole(1, LARGEST_EMBEDDING),
    "encoder_config": Rule("a mapping", lambda value: isinstance(value, dict)),  # see encoder_rules
}
# Bundles of earlier versions lack these.
ADDED_SETTINGS = ("layer_weights",)
# What else bundle.json says, for people: nothing is built from it.
FACTS = {
    "corpus": optional(TEXT),
    "corpus_title": optional(TEXT),
    "result": mapping_of(PLAIN),
    "versions": mapping_of(TEXT),
    "trained_with": mapping_of(TEXT),
}


@dataclasses.dataclass(frozen=True)
class BundleSettings:
    """The settings of a classifier.

    Arguments
    ---------
    emotions : list of str
        The labels, in the order of the posteriors.
    emb_dim : int
        Size of the embedding.
    encoder_config : dict
        What `architecture` of a `TruncatedEncoder` or a `FilterbankEncoder` returns; of a Transformer,
        `num_hidden_layers` is the number of kept layers.
    sample_rate : int
        Sample rate of the waveforms in Hz.
    feature_reduction, layer_weights
        As in `TruncatedEncoder`.
    waveform_scale, max_s, fixed_length_s, mask_padding
        As in `EmbeddingModel`.

    Raises
    ------
    InputError
        If a value is of the wrong type or out of its bounds.

    Example
    -------
    >>> config = {"model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 2, "conv_dim": [8, 8],
    ...           "conv_kernel": [400, 4], "conv_stride": [160, 2]}
    >>> BundleSettings(["ang", "sad"], emb_dim=64, encoder_config=config).n_classes
    2
    >>> BundleSettings(["ang", "sad"], emb_dim=0, encoder_config=config)
    Traceback (most recent call last):
    speechbrain_ext.errors.InputError: emb_dim must be a whole number from 1 to 65536, got 0.
    """

    emotions: list[str]
    emb_dim: int
    encoder_config: dict[str, Any]
    sample_rate: int = 16_000
    feature_reduction: str = "first"
    waveform_scale: Optional[str] = "peak"
    max_s: Optional[float] = None
    fixed_length_s: Optional[float] = None
    mask_padding: bool = True
    layer_weights: Optional[str] = None

    def __post_init__(self):
        check_values(vars(self), SETTINGS)
        check_fixed_length(self.fixed_length_s, self.sample_rate)
        _check_encoder(self.encoder_config)
        if len(set(self.emotions)) < len(self.emotions):
            raise InputError(f"emotions must differ from one another, got {shown(self.emotions)}.")

    @property
    def n_classes(self) -> int:
        """Number of emotions."""
        return len(self.emotions)


def encoder_rules(model_type: str) -> dict[str, Rule]:
    """Return the rules of the encoder's configuration: what its family says."""
    if model_type == filterbank_encoder.MODEL_TYPE:
        return filterbank_encoder.BOUNDS
    return {"model_type": one_of(*MODEL_TYPES), **get_family(model_type).bounds}


def _check_encoder(config: dict[str, Any]) -> None:
    """Refuse an encoder's configuration that its family does not know, or has no bounds for."""
    prefix = "encoder_config."
    model_type = config.get("model_type")
    named = {"model_type": model_type} if "model_type" in config else {}
    known = (*MODEL_TYPES, filterbank_encoder.MODEL_TYPE)
    check_values(named, {"model_type": one_of(*known)}, prefix=prefix)
    rules = encoder_rules(str(model_type))
    if model_type == filterbank_encoder.MODEL_TYPE:
        check_values(config, rules, prefix=prefix)
        return
    family = get_family(model_type)
    check_values(config, rules, ("model_type", *family.needed), prefix)
    default = transformers_class(family.config_class)().to_dict()
    family.check_config({**default, **config}, "encoder_config")
