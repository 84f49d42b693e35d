#!/usr/bin/env python3
"""Label-adaptive mixup and center loss in a recipe without HuBERT: SpeechBrain's Fbank and ECAPA-TDNN.

python examples/mixup_ecapa.py examples/mixup_ecapa.yaml --data_folder=demo_corpus

Both parts know nothing of the encoder: mixup turns (wavs, wav_lens, targets) into the same three, and what follows is
as without it; the center loss takes embeddings and targets. Tests on one session of the corpus.
"""

import sys

import speechbrain as sb
import torch
from shared import load_clips, read_hparams, split_clips
from torch.nn.functional import one_hot

from speechbrain_ext.nnet import soft_label_kl_loss
from speechbrain_ext.results import EmotionMetrics
from speechbrain_ext.training.run import end_in_a_sentence


class EmotionBrain(sb.Brain):
    """Waveforms -> mixup -> Fbank -> ECAPA-TDNN -> emotion."""

    def compute_forward(self, batch, stage):
        """Compute log-posteriors [B, C], embeddings [B, D] and (mixed) targets [B, C]."""
        batch = batch.to(self.device)
        wavs, wav_lens = batch.sig
        targets = one_hot(batch.label.data.squeeze(1), self.hparams.n_classes).float()  # [B, 1] -> [B, C]
        wavs, wav_lens, targets = self.modules.mixup(wavs, wav_lens, targets)  # nothing, outside training
        feats = self.modules.normalize(self.modules.fbank(wavs), wav_lens)  # [B, T] -> [B, F, 40]
        emb = self.modules.embedding_model(feats, wav_lens).squeeze(1)  # [B, 1, D] -> [B, D]
        return self.modules.classifier(emb).log_softmax(dim=-1), emb, targets

    def compute_objectives(self, predictions, batch, stage):
        """Compute the joint loss."""
        log_posteriors, emb, targets = predictions
        if stage != sb.Stage.TRAIN:
            self.metrics.update(log_posteriors, targets.argmax(dim=1))
        center_loss = self.modules.center_loss(emb, targets)
        return soft_label_kl_loss(log_posteriors, targets) + self.hparams.lambda_c * center_loss

    def init_optimizers(self):
        """Give the centers, which are weights too, an optimizer and a learning rate of their own."""
        centers = list(self.modules.center_loss.parameters())
        network = [p for name, module in self.modules.items() if name != "center_loss" for p in module.parameters()]
        self.optimizers_dict = {
            "network": torch.optim.Adam(network, lr=self.hparams.lr),
            "centers": torch.optim.Adam(centers, lr=self.hparams.lr_centers),
        }

    def on_stage_start(self, stage, epoch=None):
        """Begin to count decisions."""
        self.metrics = EmotionMetrics(self.hparams.emotions, device=self.device)

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Print the loss; after the test, WA and UA too."""
        print(f"{stage.name}, epoch {epoch}: loss {stage_loss:.3f}")
        if stage == sb.Stage.TEST:
            print("WA {WA:.3f}, UA {UA:.3f}".format(**self.metrics.compute()))


def main(argv):
    """Train and test."""
    torch.manual_seed(1)
    hparams, run_opts = read_hparams(argv, __file__, __doc__)
    clips, hparams["emotions"] = load_clips(hparams, "emo", count="n_classes")
    train_data, test_data = split_clips(clips, hparams["test_group"])
    brain = EmotionBrain(hparams["modules"], hparams=hparams, run_opts=run_opts)
    brain.fit(hparams["epoch_counter"], train_data, train_loader_kwargs=hparams["train_loader"])
    brain.evaluate(test_data, test_loader_kwargs=hparams["test_loader"])
    return brain


if __name__ == "__main__":
    sys.exit(end_in_a_sentence(main, sys.argv[1:], "mixup_ecapa.py"))
