"""What stands above cached features computes what the frozen encoder does."""

import itertools

import pytest
import torch

from speechbrain_ext.dataio.remembered_hashes import RememberedHashes
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.cached_encoder import CachedEncoder
from speechbrain_ext.lobes.truncated_encoder import TruncatedEncoder
from speechbrain_ext.training.feature_extraction import FeatureExtractor
from tests.recipes.fold_reading import TINY_CONFIG, save_source
from tests.tiny_encoders import ENCODERS, save_checkpoint

FROZEN = {"freeze": True, "waveform_scale": None}
WAVS = [torch.randn(12000), torch.randn(16000), torch.randn(9000)]


@pytest.fixture
def source(tmp_path):
    save_source(tmp_path / "source")
    return tmp_path / "source"


def features_of(encoder, states):
    """Compute the features of the clips, as a batch of a `FeatureDataset`: padded feats, relative lengths in frames."""
    feats = [one[:, states] for one in FeatureExtractor(encoder, 16000)(WAVS)]
    lengths = torch.tensor([len(one) for one in feats])
    return torch.nn.utils.rnn.pad_sequence(feats, batch_first=True), lengths / lengths.max()


@pytest.mark.parametrize(
    ("reduction", "layer_weights", "num_layers"),
    list(itertools.product(["first", "mean", "attentive"], [None, "learned"], [1, 2])),
)
def test_output_is_that_of_the_frozen_encoder(source, reduction, layer_weights, num_layers):
    """With one extraction for each number of layers, where frames are reduced."""
    options = {"source": source, "feature_reduction": reduction, "layer_weights": layer_weights, **FROZEN}
    cached = CachedEncoder(num_layers=num_layers, **options)
    encoder = TruncatedEncoder(num_layers=num_layers, **options).eval()
    if reduction != "attentive":
        assert list(cached.cached_states) == [0, 1, 2]  # of a checkpoint with two layers
    trained = {name: torch.rand_like(value) for name, value in cached.state_dict().items() if value.is_floating_point()}
    cached.load_state_dict({**cached.state_dict(), **trained})
    encoder.load_state_dict({**encoder.state_dict(), **trained})
    cached.eval()
    wavs = torch.nn.utils.rnn.pad_sequence(WAVS, batch_first=True)
    expected = encoder(wavs, torch.tensor([len(wav) for wav in WAVS]) / wavs.shape[1])
    feats, lengths = features_of(cached, cached.states)
    torch.testing.assert_close(cached(feats, lengths), expected, rtol=1e-4, atol=1e-4)
    assert cached.embedding_dim == encoder.embedding_dim == expected.shape[1]
    assert cached.architecture() == encoder.architecture() and cached.min_samples == encoder.min_samples
    half = cached(feats.half(), lengths)
    assert half.dtype == torch.float32 and (half - expected).abs().max() < 2e-3 * expected.abs().max()


@pytest.mark.parametrize("name", ENCODERS)
def test_every_family_is_cached_with_all_its_layers(tmp_path, name):
    options = {"source": save_checkpoint(name, tmp_path), "feature_reduction": "mean", **FROZEN}
    cached = CachedEncoder(num_layers=3, **options)
    feats, lengths = features_of(cached, cached.states)
    assert list(cached.cached_states) == [0, 1, 2, 3, 4]
    encoder = TruncatedEncoder(num_layers=3, **options).eval()
    expected = torch.cat([encoder(wav.unsqueeze(0)) for wav in WAVS])
    torch.testing.assert_close(cached(feats, lengths), expected, rtol=1e-4, atol=1e-4)


def test_encoders_that_scale_in_other_ways_have_caches_of_their_own(tmp_path):
    source, hashes = save_checkpoint("hubert", tmp_path), RememberedHashes(tmp_path / "known.json")
    options = {"source": source, "feature_reduction": "mean", "num_layers": 2, "freeze": True}

    def identity(scale):
        return CachedEncoder(**options, waveform_scale=scale).identity(hashes)

    assert identity("auto") == identity("layer") == {**identity(None), "waveform_scale": "layer"}
    assert identity("peak") == {**identity(None), "waveform_scale": "peak"}
    assert "waveform_scale" not in identity(None)  # as caches of earlier versions


def test_nothing_of_the_transformer_is_held(source):
    encoder = CachedEncoder(source=source, num_layers=2, layer_weights="learned", **FROZEN)
    assert set(encoder.state_dict()) == {"layer_weights.logits"}
    assert not any(value.is_meta for value in encoder.state_dict().values())
    assert [parameter.requires_grad for parameter in encoder.parameters()] == [True]


def test_identity_is_of_the_weights_and_not_of_their_place(source, tmp_path):
    def identity(folder, **options):
        options = {"num_layers": 2, "feature_reduction": "mean", **FROZEN, **options}
        return CachedEncoder(source=folder, **options).identity(RememberedHashes(tmp_path / "hashes.json"))

    one = identity(source)
    save_source(tmp_path / "same")
    save_source(tmp_path / "other", seed=1)
    assert (
        identity(tmp_path / "same")
        == identity(source, num_layers=1)
        == identity(source, layer_weights="learned")
        == one
    )
    assert identity(tmp_path / "other") != one and identity(source, feature_reduction="first") != one
    assert identity(source, feature_reduction="attentive")["layers"] == [2]
    assert identity(source, feature_reduction="attentive", layer_weights="learned")["layers"] == [0, 1, 2]


def test_random_weights_are_those_without_a_cache():
    torch.manual_seed(5)
    cached = CachedEncoder(config=TINY_CONFIG, num_layers=2, **FROZEN)
    draws = torch.rand(2)
    torch.manual_seed(5)
    encoder = TruncatedEncoder(config=TINY_CONFIG, num_layers=2, **FROZEN)
    torch.manual_seed(6)
    for name, value in cached.build().state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name])
    torch.manual_seed(5)
    assert torch.equal(torch.rand(2), draws)  # making one draws nothing


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": False, "num_layers": 2}, "features are cached of a frozen encoder only: set freeze=True"),
        ({"num_layers": 3}, "num_layers is 3, but .* has 2 layers: choose 1 to 2"),
    ],
)
def test_wrong_arguments_are_refused(source, options, message):
    with pytest.raises(InputError, match=message):
        CachedEncoder(source=source, **{**FROZEN, **options})
