"""BundleSettings: the plain values that a classifier is built from, each with its bounds.

The bounds are wider than any model needs. They refuse absurd values before anything is built from them.
"""

import dataclasses
import math
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Optional

from speechbrain_ext.dataio.audio import SHORTEST_S, WAVEFORM_SCALES
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.embedding_model import LONGEST_S
from speechbrain_ext.lobes.pretrained import ARCHITECTURES
from speechbrain_ext.lobes.truncated_encoder import REDUCTIONS

_repr = reprlib.Repr()  # short, whatever the value's size and depth
_repr.maxstring = _repr.maxlong = 100
shown = _repr.repr

LONGEST_TEXT = 1000
JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))  # within words, in Persian and Hindi for instance
SAMPLES_A_FRAME = (10, 100_000)  # bounds of the product of the strides: HuBERT's is 320


class Rule(NamedTuple):
    """What a value has to be: in words, and as a test."""

    text: str
    allows: Callable[[Any], bool]


def _whole(low: int, high: int) -> Rule:
    return Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def _number(low: float, high: float) -> Rule:
    return Rule(
        f"a number from {low:g} to {high:g}", lambda value: type(value) in (int, float) and low <= value <= high
    )


def _one_of(*known: Any) -> Rule:
    return Rule(f"one of {known}", lambda value: any(type(value) is type(one) and value == one for one in known))


def _optional(rule: Rule) -> Rule:
    return Rule(f"{rule.text}, or null", lambda value: value is None or rule.allows(value))


def _list_of(rule: Rule, shortest: int, longest: int) -> Rule:
    return Rule(
        f"a list of {shortest} to {longest} values, each {rule.text}",
        lambda value: isinstance(value, list) and shortest <= len(value) <= longest and all(map(rule.allows, value)),
    )


def _mapping_of(rule: Rule) -> Rule:
    return Rule(
        f"a mapping of at most 100 names to values, each {rule.text}",
        lambda value: (
            isinstance(value, dict)
            and len(value) <= 100
            and all(map(TEXT.allows, value))
            and all(map(rule.allows, value.values()))
        ),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_TEXT and value.translate(JOINERS).isprintable()


TEXT = Rule(f"a printable text of at most {LONGEST_TEXT} characters", _is_text)
TRUTH = _one_of(True, False)
PLAIN = Rule(
    "a text, a number, true, false or null",
    lambda value: value is None or any(rule.allows(value) for rule in (TEXT, TRUTH, _number(-1e15, 1e15))),
)
ACTIVATION = _one_of("gelu", "gelu_fast", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish")
SETTINGS = {
    "emotions": _list_of(TEXT, 2, 1000),
    "sample_rate": _whole(1000, 384_000),
    "waveform_scale": _one_of(*WAVEFORM_SCALES),
    "max_s": _optional(_number(SHORTEST_S, LONGEST_S)),
    "fixed_length_s": _optional(_number(SHORTEST_S, LONGEST_S)),
    "mask_padding": TRUTH,
    "feature_reduction": _one_of(*filter(None, REDUCTIONS)),
    "emb_dim": _whole(1, 65_536),
    "encoder_config": Rule("a mapping", lambda value: isinstance(value, dict)),  # see ENCODER_CONFIG
}
ENCODER_CONFIG = {
    "model_type": _one_of(*ARCHITECTURES),
    "hidden_size": _whole(1, 16_384),
    "num_hidden_layers": _whole(1, 200),
    "num_attention_heads": _whole(1, 1024),
    "intermediate_size": _whole(1, 65_536),
    "hidden_act": ACTIVATION,
    "layer_norm_eps": _number(0, 1),
    "conv_dim": _list_of(_whole(1, 4096), 1, 20),
    "conv_kernel": _list_of(_whole(1, 4096), 1, 20),
    "conv_stride": _list_of(_whole(1, 4096), 1, 20),
    "conv_bias": TRUTH,
    "feat_extract_norm": _one_of("group", "layer"),
    "feat_extract_activation": ACTIVATION,
    "feat_proj_layer_norm": TRUTH,
    "conv_pos_batch_norm": TRUTH,
    "num_conv_pos_embeddings": _whole(1, 4096),
    "num_conv_pos_embedding_groups": _whole(1, 4096),
    "do_stable_layer_norm": TRUTH,
}
NEEDED_OF_ENCODER = ("model_type", "hidden_size", "num_hidden_layers", "conv_dim", "conv_kernel", "conv_stride")
# What else bundle.json says, for people: nothing is built from it.
FACTS = {
    "corpus": _optional(TEXT),
    "corpus_title": _optional(TEXT),
    "result": _mapping_of(PLAIN),
    "versions": _mapping_of(TEXT),
    "trained_with": _mapping_of(TEXT),
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
        What `TruncatedHuBERT.architecture` returns; `num_hidden_layers` is the number of kept layers.
    sample_rate : int
        Sample rate of the waveforms in Hz.
    feature_reduction : str
        As in `TruncatedHuBERT`.
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

    def __post_init__(self):
        check_values(vars(self), SETTINGS)
        check_values(self.encoder_config, ENCODER_CONFIG, NEEDED_OF_ENCODER, "encoder_config.")
        if len(set(self.emotions)) < len(self.emotions):
            raise InputError(f"emotions must differ from one another, got {shown(self.emotions)}.")
        n_samples, (lowest, highest) = math.prod(self.encoder_config["conv_stride"]), SAMPLES_A_FRAME
        if not lowest <= n_samples <= highest:
            raise InputError(
                f"encoder_config.conv_stride must make a frame of {lowest} to {highest} samples, got {n_samples}."
            )

    @property
    def n_classes(self) -> int:
        """Number of emotions."""
        return len(self.emotions)


def check_values(
    values: Mapping[str, Any], rules: Mapping[str, Rule], needed: Optional[Iterable[str]] = None, prefix: str = ""
) -> None:
    """Refuse keys that are not known or missing, and values that break their rule.

    Arguments
    ---------
    values : dict
        What was given.
    rules : dict
        Key -> rule.
    needed : iterable of str, optional
        The keys that must be there; by default all that have a rule.
    prefix : str
        What stands before a key in messages.

    Raises
    ------
    InputError
        Names the key, its rule and the value.
    """
    for key in rules if needed is None else needed:
        if key not in values:
            raise InputError(f"{prefix}{key} is missing.")
    for key, value in values.items():
        if key not in rules:
            raise InputError(f"{prefix}{shown(key)[1:-1]} is unknown. Known are {', '.join(rules)}.")
        if not rules[key].allows(value):
            raise InputError(f"{prefix}{key} must be {rules[key].text}, got {shown(value)}.")
