#!/usr/bin/env python3
"""All frames of a truncated encoder under SpeechBrain's own pooling, beside SpeechBrain's WeightedSSLModel.

python examples/frames.py examples/frames.yaml --data_folder=demo_corpus

`feature_reduction: null` gives all frames, [B, F, D]. One layer of both is compared; then a head is trained on each.
"""

import sys
import time

import speechbrain as sb
import torch
from shared import load_clips, read_hparams, split_clips

from speechbrain_ext.errors import InputError
from speechbrain_ext.training.run import end_in_a_sentence


class FramesBrain(sb.Brain):
    """Waveforms -> frames -> attentive pooling -> emotion."""

    def compute_forward(self, batch, stage):
        """Compute log-posteriors, [B, C]."""
        wavs, wav_lens = batch.to(self.device).sig
        self.modules.encoder.eval()  # frozen; WeightedSSLModel would otherwise drop layers out in training
        feats = self.modules.encoder(wavs, wav_lens)  # [B, F, D]
        n_frames = self.hparams.encoder.frame_lengths((wav_lens * wavs.shape[1]).round().long())
        lens = (n_frames - 0.5) / feats.shape[1]  # up to the middle of the last frame, whatever the rounding
        pooled = self.modules.pooling(feats.transpose(1, 2), lens)  # [B, D, F] -> [B, 2 D, 1]
        return self.modules.classifier(pooled.squeeze(2)).log_softmax(dim=-1)

    def compute_objectives(self, log_posteriors, batch, stage):
        """Compute the loss, and count errors."""
        labels = batch.label.data.squeeze(1)  # [B, 1] -> [B]
        self.errors += (log_posteriors.argmax(dim=-1) != labels).tolist()
        return torch.nn.functional.nll_loss(log_posteriors, labels)

    def on_stage_start(self, stage, epoch=None):
        """Begin to count errors."""
        self.errors, self.start = [], time.perf_counter()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Print loss, error rate and time."""
        error, seconds = sum(self.errors) / len(self.errors), time.perf_counter() - self.start
        print(f"{stage.name}, epoch {epoch}: loss {stage_loss:.3f}, error {error:.3f}, {seconds:.1f} s")


def compare(encoder, weighted):
    """Print how far the frames of the two are apart, for a clip alone and beside a longer one."""
    weighted.eval().weights.data.fill_(-torch.inf)[encoder.num_layers] = 0.0  # the layer where ours is cut
    wavs, wav_lens = torch.randn(2, 32000), torch.tensor([0.5, 1.0])  # the first is padded with noise
    with torch.no_grad():
        alone = weighted(wavs[:1, :16000])
        for name, model in (("ours", encoder), ("WeightedSSLModel", weighted)):
            feats = model(wavs[:1, :16000]), model(wavs, wav_lens)[:1, : encoder.frame_lengths(16000)]
            one, padded = ((found - alone).abs().max() for found in feats)
            print(f"{name}: {one:.0e} from WeightedSSLModel on one clip, {padded:.0e} beside a longer one")
    weighted.weights.data.zero_()  # as it begins: all layers alike


def main(argv):
    """Compare, train and test."""
    torch.manual_seed(1)
    hparams, run_opts = read_hparams(argv, __file__, __doc__)
    if hparams["weighted"].model.main_input_name != "input_values":
        raise InputError("encoder_source must take waveforms, as WeightedSSLModel does: HuBERT, wav2vec 2.0 or WavLM.")
    compare(hparams["encoder"], hparams["weighted"])
    train_data, test_data = split_clips(load_clips(hparams, "emo", count="n_classes")[0], hparams["test_group"])
    for name in ("encoder", "weighted"):
        print(f"On {name}:")
        modules = {"encoder": hparams[name], "pooling": hparams["pooling"](), "classifier": hparams["classifier"]()}
        brain = FramesBrain(modules, hparams["opt_class"], hparams, run_opts)
        brain.fit(range(hparams["number_of_epochs"]), train_data, train_loader_kwargs=hparams["train_loader"])
        brain.evaluate(test_data, test_loader_kwargs=hparams["test_loader"])


if __name__ == "__main__":
    sys.exit(end_in_a_sentence(main, sys.argv[1:], "frames.py"))
