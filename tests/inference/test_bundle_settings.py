"""What bundle.json may say: a value of the wrong type or out of its bounds is refused before anything is built."""

import json

import pytest
import torch
import transformers

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import BUNDLE_FILE, check_bundle
from speechbrain_ext.inference.bundle_settings import ADDED_SETTINGS, FACTS, SETTINGS, BundleSettings, encoder_rules
from speechbrain_ext.lobes import TruncatedEncoder
from speechbrain_ext.lobes.families import MODEL_TYPES, get_family
from tests.bundle_making import edit_config, edit_json, make_bundle
from tests.tiny_encoders import ENCODERS
from tests.tiny_hubert import TINY

ENCODER_CONFIG = encoder_rules("hubert")

HUGE = 10**4000
# What no setting takes; JSON writes it, and reads it back.
NEVER = [True, -1, 1e999, HUGE, "nothing", [], [[1]], {}, {"a": 1}, ["\x1b"], None]
TAKEN = {  # those of NEVER that a key does take
    "mask_padding": [True],
    "waveform_scale": [None],
    "layer_weights": [None],
    "max_s": [None],
    "fixed_length_s": [None],
    **dict.fromkeys(
        ("conv_bias", "feat_proj_layer_norm", "conv_pos_batch_norm", "do_stable_layer_norm"),
        [True],
    ),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("settings") / "bundle")


@pytest.fixture(autouse=True)
def restored(bundle):
    before = (bundle / BUNDLE_FILE).read_bytes()
    yield
    (bundle / BUNDLE_FILE).write_bytes(before)


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch, bundle):
    monkeypatch.setattr(torch, "load", None)
    monkeypatch.setattr(torch.nn.Module, "__init__", None)


def refused(bundle, *words):
    with pytest.raises(InputError) as caught:
        check_bundle(bundle)
    for word in ("the bundle", "bundle.json: ", *words, "Nothing of it was run. Get it again from who made it."):
        assert word in str(caught.value)
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


@pytest.mark.parametrize("key", [*SETTINGS, *ENCODER_CONFIG])
def test_value_of_another_type_is_refused(bundle, key):
    edit = edit_config if key in ENCODER_CONFIG else edit_json
    for value in NEVER:
        if not any(value is taken for taken in TAKEN.get(key, [])):
            edit(bundle, **{key: value})
            refused(bundle, key)


@pytest.mark.parametrize(
    ("key", "lowest", "highest"),
    [
        ("sample_rate", 1000, 384_000),
        ("emb_dim", 1, 65_536),
        ("max_s", 0.025, 3600.0),
        ("fixed_length_s", 0.025, 360.0),
        ("hidden_size", 1, 16_384),
        ("num_hidden_layers", 1, 200),
        ("num_attention_heads", 1, 1024),
        ("intermediate_size", 1, 65_536),
        ("num_conv_pos_embeddings", 1, 4096),
        ("num_conv_pos_embedding_groups", 1, 4096),
        ("layer_norm_eps", 0, 1),
    ],
)
def test_bounds_are_inclusive(bundle, key, lowest, highest):
    edit = edit_config if key in ENCODER_CONFIG else edit_json
    for value in (lowest, highest):
        edit(bundle, **{key: value})
        check_bundle(bundle)
    for value in (lowest - 0.001 if isinstance(highest, float) else lowest - 1, highest + 1):
        edit(bundle, **{key: value})
        refused(
            bundle, f"{key} must be a", f"from {lowest:g} to {highest:g}" if key.endswith("_s") else f" to {highest}"
        )


@pytest.mark.parametrize("key", ["conv_dim", "conv_kernel", "conv_stride"])
@pytest.mark.parametrize("value", [[8, 0], [8, 5000], [8, 8.0], [8, True], [8, [8]], [8] * 21, [], [8, "8"]])
def test_feature_encoder_that_no_model_has_is_refused(bundle, key, value):
    edit_config(bundle, **{key: value})
    refused(bundle, f"encoder_config.{key} must be a list of 1 to 20 values, each a whole number from 1 to 4096, got [")


@pytest.mark.parametrize(("strides", "n_samples"), [([1000, 101], 101000), ([3, 3], 9)])
def test_frames_of_an_absurd_length_are_refused(bundle, strides, n_samples):
    edit_config(bundle, conv_stride=strides)
    refused(bundle, f"conv_stride must make a frame of 10 to 100000 samples, got {n_samples}")


def test_uneven_feature_encoder_is_refused(bundle):
    edit_config(bundle, conv_dim=[8])
    refused(bundle, "encoder_config has 1 values in conv_dim, but 2 in conv_kernel")


@pytest.mark.parametrize("key", ["model_type", "hidden_size", "num_hidden_layers", "conv_dim", "conv_stride"])
def test_missing_key_of_the_encoder_is_refused(bundle, key):
    config = json.loads((bundle / BUNDLE_FILE).read_text())["encoder_config"]
    del config[key]
    edit_json(bundle, encoder_config=config)
    refused(bundle, f"encoder_config.{key} is missing")


def test_labels_of_any_script_pass(bundle):
    emotions = ["ärgerlich", "怒り", "خوش\u200cحال", "क्\u200dष", "😀", "happy / excited"]
    edit_json(bundle, emotions=emotions)
    assert check_bundle(bundle).settings.emotions == emotions


@pytest.mark.parametrize(
    ("emotions", "words"),
    [
        (["ang"], "a list of 2 to 1000 values"),
        (["ang"] * 1001, "a list of 2 to 1000 values"),
        ("ang", "got 'ang'"),
        ({"ang": 1, "sad": 2}, "emotions must be a list"),
        (["ang", 1], "each a printable text"),
        (["ang", None], "each a printable text"),
        (["ang", ["sad"]], "each a printable text"),
        (["ang", "\x1b[2Jsad"], r"'\x1b[2Jsad'"),
        (["ang", "sad\n"], r"'sad\n'"),
        (["ang", "s\u202ead"], r"'s\u202ead'"),  # turns the writing direction round
        (["ang", "\ud800"], r"'\ud800'"),  # half a character
        (["ang", "x" * 1001], "at most 1000 characters"),
        (["ang", "ang"], "emotions must differ from one another"),
    ],
)
def test_wrong_labels_are_refused(bundle, emotions, words):
    edit_json(bundle, emotions=emotions)
    refused(bundle, words)


@pytest.mark.parametrize(
    "key",
    [
        "auto_map",
        "_name_or_path",
        "_attn_implementation",
        "_commit_hash",
        "attn_implementation",
        "quantization_config",
        "trust_remote_code",
        "source",
        "torch_dtype",
        "\x1b[2J",
    ],
)
def test_key_of_the_encoder_that_is_no_architecture_is_refused(bundle, key):
    edit_config(bundle, **{key: "evil/hub"})
    refused(bundle, f"encoder_config.{key!r}".replace("'", ""), "is unknown. Known are model_type, hidden_size, ")


@pytest.mark.parametrize("key", ["pretrainer", "modules", "__class__", "device", "save_path", "emotion"])
def test_unknown_key_is_refused(bundle, key):
    edit_json(bundle, **{key: "evil/hub"})
    refused(bundle, f"{key} is unknown. Known are emotions, ")


@pytest.mark.parametrize("key", [key for key in SETTINGS if key not in ADDED_SETTINGS])
def test_missing_key_is_refused(bundle, key):
    about = json.loads((bundle / BUNDLE_FILE).read_text())
    del about[key]
    (bundle / BUNDLE_FILE).write_text(json.dumps(about))
    refused(bundle, f"{key} is missing")


def test_deep_values_are_refused(bundle):
    for depth in (50, 500, 10_000):
        for opening, closing in ("[]", ('{"a":', "}")):
            text = (bundle / BUNDLE_FILE).read_text()
            deep = f'"emb_dim": {opening * depth}0{closing * depth}'
            assert '"emb_dim": 64' in text
            (bundle / BUNDLE_FILE).write_text(text.replace('"emb_dim": 64', deep))
            with pytest.raises(InputError, match="is refused: bundle.json( is no JSON|: emb_dim must be)"):
                check_bundle(bundle)
            (bundle / BUNDLE_FILE).write_text(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in FACTS for value in (1, True, ["x"], "x" * 1001, "\x1b")),
        ("result", {"UA": [1]}),
        ("result", {"UA": {"a": 1}}),
        ("result", {"UA": 1e999}),
        ("result", {"UA": HUGE}),
        ("result", {"\x1b": 1}),
        ("result", dict.fromkeys(map(str, range(101)), 1)),
        ("versions", {"torch": 2}),
        ("trained_with", None),
    ],
)
def test_facts_of_another_type_are_refused(bundle, key, value):
    edit_json(bundle, **{key: value})
    refused(bundle, f"{key} must be ")


def test_facts_pass(bundle):
    result = {"WA": 0.5, "n": 3, "validation": "none", "group": None, "known": True}
    edit_json(bundle, corpus="iemocap", corpus_title="IEMOCAP", result=result, trained_with={"torch": "2.0"})
    assert check_bundle(bundle).about["result"] == result


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_published_architectures_are_within_the_bounds(model_type):
    family = get_family(model_type)
    values = getattr(transformers, family.config_class)().to_dict()
    values = {key: values[family.aliases.get(key, key)] for key in family.bounds if key != "feat_proj_layer_norm"}
    values = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
    largest = {"hidden_size": 1920, "intermediate_size": 7680, "num_hidden_layers": 48}  # XLS-R with 2 billion weights
    BundleSettings(["a", "b"], 1024, {"model_type": model_type, **values, **largest})


@pytest.mark.parametrize("name", ENCODERS)
def test_every_value_of_an_architecture_is_bounded(bundle, name, monkeypatch):
    """Of each family's own keys: nothing of another type, and no number without an end."""
    monkeypatch.undo()
    with torch.device("meta"):
        config = TruncatedEncoder(config={"model_type": ENCODERS[name][0], **ENCODERS[name][1]}, num_layers=1)
    config = config.architecture()
    assert set(config) == set(encoder_rules(ENCODERS[name][0]))
    for key, value in config.items():
        for wrong in (HUGE, -1, "\x1b", {}, [HUGE]):
            if not (wrong == value or (key == "adapter_attn_dim" and wrong is None)):
                with pytest.raises(InputError, match=f"encoder_config.{key} must be"):
                    BundleSettings(["a", "b"], 64, {**config, key: wrong})


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("wavlm", {"max_bucket_distance": 4}, "max_bucket_distance must be above a quarter of num_buckets .16., got 4"),
        ("wav2vec2-bert", {"conv_depthwise_kernel_size": 4}, "conv_depthwise_kernel_size must be odd, got 4"),
        ("whisper", {"num_mel_bins": 81}, r"num_mel_bins must be one of \(80, 128\), got 81"),
    ],
)
def test_architecture_that_no_model_has_is_refused(monkeypatch, model_type, changes, message):
    monkeypatch.undo()
    with torch.device("meta"):
        config = TruncatedEncoder(config={"model_type": model_type, **ENCODERS[model_type][1]}, num_layers=1)
    with pytest.raises(InputError, match=message):
        BundleSettings(["a", "b"], 64, {**config.architecture(), **changes})


def test_settings_of_an_encoder_are_those_it_was_built_from(monkeypatch):
    monkeypatch.undo()
    with torch.device("meta"):
        architecture = TruncatedEncoder(config=TINY, num_layers=1).architecture()
    assert BundleSettings(["a", "b"], 64, architecture).encoder_config == {
        "model_type": "hubert",
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "feat_extract_activation": "gelu",
        "feat_proj_layer_norm": True,
        "conv_pos_batch_norm": False,
        **TINY,
        "num_hidden_layers": 1,
    }
