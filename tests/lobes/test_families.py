"""Every family of encoders: transformers' own numbers, blind to padding, by frame 0 alone; and what each refuses."""

import pytest
import torch
import transformers
from torch import nn

from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes import TruncatedEncoder, family
from speechbrain_ext.lobes.families import MODEL_TYPES, get_family
from speechbrain_ext.lobes.log_mel import kaldi_log_mel, whisper_log_mel
from tests.tiny_encoders import ENCODERS, make_config, save_checkpoint

N_LAYERS = 3
DROPOUT = 0.3
LAYOUTS = {
    "packed": lambda patch: patch.setattr(family, "DENSE", 1.0),
    "rows": lambda patch: patch.setattr(TruncatedEncoder, "_packs", staticmethod(lambda wavs: False)),
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Return a function that saves a case's checkpoint once."""
    folders = {}

    def checkpoint(name):
        if name not in folders:
            torch.manual_seed(1)
            folders[name] = save_checkpoint(name, tmp_path_factory.mktemp(name))
        return folders[name]

    return checkpoint


def load(folder, **options):
    """Load a checkpoint's first layers, all of them trainable."""
    options = {"num_layers": N_LAYERS, "waveform_scale": None, "projection_dropout": DROPOUT, **options}
    return TruncatedEncoder(folder, freeze_feature_extractor=False, **options)


class Reference(nn.Module):
    """transformers' own model, cut after the third layer, with dropout after each attention."""

    def __init__(self, folder):
        super().__init__()
        config = transformers.AutoConfig.from_pretrained(folder)
        chosen = get_family(config.model_type)
        for key, value in chosen.deterministic.items():
            setattr(config, key, value)
        setattr(config, chosen.aliases.get("num_hidden_layers", "num_hidden_layers"), N_LAYERS)
        model_class = transformers.WhisperModel if config.model_type == "whisper" else transformers.AutoModel
        model = model_class.from_pretrained(folder, config=config, attn_implementation="eager")
        self.model = model.encoder if config.model_type == "whisper" else model
        self.model_type = config.model_type
        if config.model_type == "whisper":
            self.model.layer_norm = nn.Identity()
            for layer in self.model.layers:
                layer.self_attn.out_proj.register_forward_hook(self._drop)
        elif config.model_type == "wav2vec2-bert":
            for layer in self.model.encoder.layers:
                layer.self_attn_dropout.p = DROPOUT
        else:
            if getattr(config, "do_stable_layer_norm", False):
                self.model.encoder.layer_norm = nn.Identity()
            for layer in self.model.encoder.layers:
                layer.dropout.p = DROPOUT

    def _drop(self, module, inputs, output):
        return nn.functional.dropout(output, DROPOUT, self.training)

    def forward(self, wavs):
        """Compute clips of one length, [B, T] -> [B, F, D]."""
        n_samples = torch.full((len(wavs),), wavs.shape[1])
        if self.model_type == "wav2vec2-bert":  # the features themselves: tests/lobes/test_log_mel.py
            feats = kaldi_log_mel(wavs, n_samples)  # [B, F, M] -> [B, F / 2, 2 M]
            return self.model(feats.reshape(len(wavs), -1, 2 * feats.shape[2])).last_hidden_state
        if self.model_type != "whisper":
            return self.model(wavs).last_hidden_state
        feats = whisper_log_mel(wavs, n_samples, 80).transpose(1, 2)  # [B, F, M] -> [B, M, F]
        positions = self.model.embed_positions
        self.model.config.max_source_positions = feats.shape[2] // 2  # it takes clips of one length alone, 30 s
        self.model.embed_positions = nn.Embedding.from_pretrained(positions.weight[: feats.shape[2] // 2])
        found = self.model(feats).last_hidden_state
        self.model.embed_positions = positions
        return found


def gradients(module):
    """Return a module's gradients by name, without the prefix of the model."""
    found = {name.removeprefix("model."): p.grad for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    return found


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", ENCODERS)
def test_outputs_and_gradients_are_those_of_transformers(checkpoints, name, training, monkeypatch):
    monkeypatch.setattr(torch, "rand", torch.ones)  # transformers 4 draws for its layerdrop, which is off
    reference, encoder = Reference(checkpoints(name)).train(training), load(checkpoints(name)).train(training)
    first = load(checkpoints(name), feature_reduction="first").train(training)
    encoder.feature_reduction = None
    torch.manual_seed(0)  # how much loading draws is up to transformers
    # transformers' WavLM draws its dropout in another order where there are several clips.
    wavs = 0.3 * torch.randn(1 if training else 2, 3200)
    torch.manual_seed(3)
    expected = reference(wavs)
    torch.manual_seed(3)
    found = encoder(wavs)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert found.shape[1] == encoder.frame_lengths(wavs.shape[1])
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    (found * weights).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters() if p.requires_grad)  # DistributedDataParallel waits
    wanted, ours = gradients(reference), gradients(encoder)
    assert ours.keys() == wanted.keys()
    compare(ours, wanted)
    torch.manual_seed(3)
    by_first = first(wavs)
    torch.testing.assert_close(by_first, expected[:, 0], rtol=1e-5, atol=1e-5)
    torch.manual_seed(3)
    (by_first * weights[:, 0]).sum().backward()
    torch.manual_seed(3)
    (reference(wavs)[:, 0] * weights[:, 0]).sum().backward()
    compare(gradients(first), gradients(reference))


def compare(found, wanted):
    for key, gradient in found.items():
        scale = wanted[key].abs().max().item()
        torch.testing.assert_close(gradient, wanted[key], rtol=1e-5, atol=max(1e-5 * scale, 1e-5), msg=key)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ENCODERS)
def test_output_does_not_depend_on_padding_or_batch_mates(checkpoints, clips, name, layout, monkeypatch):
    LAYOUTS[layout](monkeypatch)
    wavs, wav_lens, lengths = clips
    longer = nn.functional.pad(wavs, (0, 8000), value=0.7)
    for reduction in (None, "first", "mean"):
        encoder = load(checkpoints(name), feature_reduction=reduction).eval()
        with torch.no_grad():
            batches = encoder(wavs, wav_lens), encoder(longer, wav_lens * 16000 / 24000)
            shuffled = encoder(wavs[[2, 0, 1]], wav_lens[[2, 0, 1]])[[1, 2, 0]]
            for i, length in enumerate(lengths):
                alone = encoder(wavs[i : i + 1, :length])[0]
                for outputs in (*batches, shuffled):
                    output = outputs[i] if reduction else outputs[i, : len(alone)]
                    torch.testing.assert_close(output, alone, rtol=1e-5, atol=1e-5)
                    assert reduction or not outputs[i, len(alone) :].any()


@pytest.mark.parametrize("name", ENCODERS)
def test_shortest_clip_is_taken_and_a_shorter_one_refused(name):
    encoder = TruncatedEncoder(config={"model_type": ENCODERS[name][0], **ENCODERS[name][1]}, num_layers=1).eval()
    n = encoder.min_samples
    assert encoder.frame_lengths(n) == 1
    assert encoder(torch.randn(2, n)).isfinite().all()
    with pytest.raises(InputError, match=f"has {n - 1} samples; the encoder needs at least {n}"):
        encoder(torch.randn(1, n - 1))


def test_every_family_is_tested():
    assert {model_type for model_type, _ in ENCODERS.values()} == set(MODEL_TYPES)


@pytest.mark.parametrize("name", ENCODERS)
def test_more_layers_than_there_are_are_refused(checkpoints, name):
    with pytest.raises(InputError, match=f"num_layers is 5, but '{checkpoints(name)}' has 4 layers: choose 1 to 4"):
        load(checkpoints(name), num_layers=5)


@pytest.mark.parametrize("name", ENCODERS)
def test_architecture_builds_the_same_encoder(name):
    encoder = TruncatedEncoder(config={"model_type": ENCODERS[name][0], **ENCODERS[name][1]}, num_layers=2)
    architecture = encoder.architecture()
    assert architecture["num_hidden_layers"] == 2
    again = TruncatedEncoder(config=architecture, num_layers=2)
    assert again.architecture() == architecture
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in encoder.state_dict().items()}


def test_whisper_takes_30_s_and_no_more():
    encoder = TruncatedEncoder(config={"model_type": "whisper", **ENCODERS["whisper"][1]}, num_layers=1).eval()
    assert encoder.max_samples == 30 * 16000
    with torch.no_grad():
        assert encoder(torch.randn(1, 480000)).isfinite().all()
        assert encoder(torch.randn(1, 480320), torch.tensor([0.5])).isfinite().all()  # of a row, what is the clip's own
    with pytest.raises(
        InputError,
        match="clip 1 of the batch has 480001 samples; a whisper encoder takes at most 480000, 30 s at 16 kHz. Cut it "
        r"\(max_train_s and max_eval_s in training\), or classify a long recording in windows",
    ):
        encoder(torch.randn(2, 480001), torch.tensor([0.5, 1.0]))


def test_whisper_pads_no_clip_to_30_s():
    encoder = TruncatedEncoder(
        config={"model_type": "whisper", **ENCODERS["whisper"][1]}, num_layers=1, feature_reduction=None
    )
    assert encoder(torch.randn(1, 16000)).shape == (1, 50, 32)


def test_decoder_alone_of_whisper_is_refused(tmp_path):
    transformers.WhisperForCausalLM(make_config("whisper")).save_pretrained(tmp_path / "causal")
    with pytest.raises(
        InputError, match=r"is of Whisper's decoder alone \(WhisperForCausalLM\). Give a checkpoint with"
    ):
        load(tmp_path / "causal")
    model = transformers.WhisperModel(make_config("whisper"))
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("encoder.")}
    model.save_pretrained(tmp_path / "half", state_dict=state)
    with pytest.raises(InputError, match="weights in '.*half' do not fit its config.json: .* missing"):
        load(tmp_path / "half")


@pytest.mark.parametrize("save_as", [transformers.WhisperForConditionalGeneration, transformers.WhisperModel])
def test_whisper_is_read_from_the_whole_model(tmp_path, save_as):
    model = save_as(make_config("whisper"))
    model.save_pretrained(tmp_path)
    weight = model.get_encoder().layers[1].fc1.weight
    assert torch.equal(load(tmp_path).model.layers[1].fc1.weight, weight)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "wav2vec2-bert",
            {"position_embeddings_type": "rotary"},
            r"position_embeddings_type must be one of .*relative_k",
        ),
        (
            "wav2vec2-bert",
            {"feature_projection_input_dim": 80},
            r"feature_projection_input_dim must be one of \(160,\)",
        ),
        ("wav2vec2-bert", {"conv_depthwise_kernel_size": 4}, "conv_depthwise_kernel_size must be odd, got 4"),
        ("whisper", {"num_mel_bins": 40}, r"num_mel_bins must be one of \(80, 128\), got 40"),
        ("wavlm", {"max_bucket_distance": 4}, "max_bucket_distance must be above a quarter of num_buckets"),
        ("hubert", {"conv_stride": [1] * 7}, "conv_stride must make a frame of 10 to 100000 samples, got 1"),
    ],
)
def test_variants_that_are_not_supported_are_refused(name, changes, message):
    model_type, values = ENCODERS[name]
    with pytest.raises(InputError, match=message):
        TruncatedEncoder(config={"model_type": model_type, **values, **changes}, num_layers=1)
