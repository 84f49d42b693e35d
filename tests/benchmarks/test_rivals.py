"""What the benchmarks time: operations counted by hand, peers that are what they are said to be, our own recipe."""

import statistics

import pytest
import torch
from torchaudio.models import hubert_large

from benchmarks import flops, ours, peers
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.truncated_encoder import TruncatedHuBERT

# One convolution of kernel 2 and stride 2 makes 4 frames of 8 samples; width 4, feed-forward of 8.
BY_HAND = {
    "hidden_size": 4,
    "intermediate_size": 8,
    "conv_dim": [3],
    "conv_kernel": [2],
    "conv_stride": [2],
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 2,
}
FEATURE_ENCODER = 2 * 4 * 1 * 3 * 2  # frames, channels in and out, kernel
PROJECTION = 2 * 4 * 3 * 4
POSITION = 2 * 4 * 4 * (4 // 2) * 5
LAYER = 4 * 2 * 4 * 4 * 4 + 2 * 2 * 4 * 4 * 4 + 2 * 2 * 4 * 4 * 8  # four products of 4x4; scores and sums; 4x8 and 8x4
# Keys and values of 4 frames; query and output of one; scores and sums of one; feed-forward of one.
FIRST = 2 * 2 * 4 * 4 * 4 + 2 * 2 * 1 * 4 * 4 + 2 * 2 * 4 * 4 + 2 * 2 * 4 * 8


class TestFlops:
    def test_forward_by_hand(self):
        assert flops.forward_flops(BY_HAND, 8, 2, first_frame=False) == {
            "feature_encoder": FEATURE_ENCODER,
            "projection": PROJECTION,
            "position": POSITION,
            "layers": 2 * LAYER,
        }
        assert flops.forward_flops(BY_HAND, 8, 2, first_frame=True)["layers"] == LAYER + FIRST

    def test_training_by_hand(self):
        frozen = flops.training_flops(BY_HAND, 8, 2, first_frame=True, trained_feature_encoder=False)
        assert frozen == FEATURE_ENCODER + 2 * PROJECTION + 3 * (POSITION + LAYER + FIRST)
        # The one convolution of the feature encoder gets gradients of its weights; the waveform, its input, gets none.
        trained = flops.training_flops(BY_HAND, 8, 2, first_frame=False, trained_feature_encoder=True, n_forward_only=1)
        assert trained == 2 * FEATURE_ENCODER + 3 * (PROJECTION + POSITION + 2 * LAYER) + LAYER

    def test_forward_is_what_torch_counts(self, tiny, noise):
        from torch.utils.flop_counter import FlopCounterMode

        def product(_, left, right, **__):
            return 2 * left[0] * left[1] * right[1]

        in_place = {torch.ops.aten.addmm_: product}  # which torch's counter does not know by itself

        config, n_layers = tiny
        encoder = TruncatedHuBERT(config=config, num_layers=n_layers, attn_implementation="eager").eval()
        counter = FlopCounterMode(display=False, custom_mapping=in_place)
        n_samples = 400 + 48 * 320  # 49 frames, and no sample that none of them sees
        with counter, torch.no_grad():
            encoder(noise(n_samples).unsqueeze(0))
        counted = counter.get_total_flops()
        found = flops.forward_flops(config, n_samples, n_layers, first_frame=True)
        frames = flops.frames(config, n_samples)[-1]
        # torch runs the convolution of the positions for one frame more, which is thrown away.
        assert counted == sum(found.values()) + found["position"] // frames

    @pytest.mark.parametrize("size", ["tiny", "small"])
    def test_parameters_are_the_encoders(self, size):
        config, n_layers = ours.sizes(size)
        encoder = TruncatedHuBERT(config=config, num_layers=n_layers)
        assert flops.n_parameters(config, n_layers) == sum(p.numel() for p in encoder.parameters())


class TestPeers:
    def test_authors_model_is_hubert_large(self):
        config, n_layers = ours.sizes("large")
        with torch.device("meta"):
            expected = hubert_large()
            made = peers.AuthorsLoop(config, n_layers, device="meta").model
        shapes = {name: parameter.shape for name, parameter in expected.named_parameters()}
        assert {name: parameter.shape for name, parameter in made.named_parameters()} == shapes
        assert len(made.encoder.transformer.layers) == 24

    def test_authors_batch_is_fixed_and_padded_with_means(self, tiny, noise):
        peer = peers.AuthorsLoop(*tiny)
        clips = [noise(50_000), noise(120_000)]
        wavs, targets = peer.batch(clips)
        assert wavs.shape == (2, 100_000) and targets.sum() == 2
        assert torch.equal(wavs[0, 50_000:], clips[0].mean().expand(50_000))
        assert torch.equal(wavs[1], clips[1][:100_000])

    def test_authors_loop_runs_all_layers_and_trains_the_stem(self, tiny, noise):
        config, n_layers = tiny
        peer = peers.AuthorsLoop(config, n_layers)
        calls = []
        for layer in peer.model.encoder.transformer.layers:
            layer.register_forward_hook(lambda layer, args, out: calls.append(layer))
        feature_encoder = peer.model.feature_extractor.conv_layers[0].conv.weight
        before = feature_encoder.detach().clone()
        peer.step(peer.batch([noise(100_000)] * 2))
        assert len(calls) == config["num_hidden_layers"] == n_layers + 1
        assert not torch.equal(feature_encoder, before)
        assert calls[-1].attention.k_proj.weight.grad is None  # the loss does not depend on the last one
        assert calls[-2].attention.k_proj.weight.grad is not None

    def test_authors_precisions(self, tiny):
        assert [peers.make_peer(key, *tiny, "cpu", "fp16").precision for key in "abcd"] == [
            "fp32",
            "bf16",
            "fp16",
            "fp16",
        ]

    def test_authors_products_have_no_tf32(self, tiny, noise, request):
        before = torch.backends.cuda.matmul.allow_tf32
        request.addfinalizer(lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", before))
        torch.backends.cuda.matmul.allow_tf32 = True  # as SpeechBrain leaves it
        peer = peers.AuthorsLoop(*tiny)
        seen = []
        peer.f_0.register_forward_hook(lambda *_: seen.append(torch.backends.cuda.matmul.allow_tf32))
        peer.step(peer.batch([noise(1000)]))
        assert seen == [False] and torch.backends.cuda.matmul.allow_tf32

    @pytest.mark.parametrize("kind", [peers.StockLobe, peers.SequenceClassification])
    def test_lobes_train_all_but_the_stem_under_bf16_too(self, kind, tiny, noise):
        config, n_layers = tiny
        peer = kind(config, n_layers, precision="bf16")
        model = peer.lobe.model if kind is peers.StockLobe else peer.model.hubert
        assert len(model.encoder.layers) == n_layers
        batch = peer.batch([noise(20_000), noise(30_000)])
        assert batch[0].shape == (2, 30_000)
        assert batch[1].tolist() == pytest.approx([2 / 3, 1])
        feature_encoder, projection = (
            model.feature_extractor.conv_layers[0].conv.weight,
            model.feature_projection.projection.weight,
        )
        before = feature_encoder.detach().clone(), projection.detach().clone()
        peer.step(batch)
        assert torch.equal(feature_encoder, before[0]) and not torch.equal(projection, before[1])

    def test_stock_lobe_has_22_layers_and_the_encoders_weights(self):
        config, n_layers = ours.sizes(
            "small", hidden_size=16, num_attention_heads=2, intermediate_size=16, conv_dim=[8] * 7
        )
        encoder = TruncatedHuBERT(config=config, num_layers=n_layers)
        peer = peers.StockLobe(config, n_layers, weights=encoder.model.state_dict())
        found = peer.lobe.model.state_dict()
        assert len(peer.lobe.model.encoder.layers) == 22
        assert all(torch.equal(found[key], value) for key, value in encoder.model.state_dict().items())


class TestRecipe:
    def test_plan_is_loso_yamls(self, recipe):
        train, valid = recipe.plan(ours.iemocap_manifest())
        assert sum(map(len, train)) + sum(map(len, valid)) == 5531 - 1085  # fold 1 tests on session 1
        assert {len(batch) for batch in train[:-1]} >= {16}
        assert max(n for batch in train for pair in batch for n in pair) == 100_000
        paired = statistics.fmean(pair[1] > 0 for batch in train for pair in batch)
        assert abs(paired - recipe.hparams["mixup_prob"]) < 0.03
        assert max(n for batch in valid for n, _ in batch) > 100_000  # whole utterances

    def test_step_trains_and_keeps_the_batch(self, recipe, noise):
        batch = recipe.batch([(30_000, 0), (20_000, 40_000)], noise)
        before = batch["sig"].data.clone()
        weight = recipe.hparams["modules"]["f_0"].weight
        old = weight.detach().clone()
        recipe.step(batch)
        assert not torch.equal(weight, old) and torch.equal(batch["sig"].data, before)

    def test_overrides_are_yaml(self):
        assert ours.parse_overrides(["lr=0.1", "augment_prob=0", "source=null"]) == {
            "lr": 0.1,
            "augment_prob": 0,
            "source": None,
        }
        with pytest.raises(InputError, match="KEY=VALUE"):
            ours.parse_overrides(["lr"])
