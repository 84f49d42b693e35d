#!/usr/bin/env python3
"""Speaker embeddings: SpeechBrain's speaker recipe, with a truncated HuBERT where its ECAPA-TDNN was.

python examples/speaker_embeddings.py examples/speaker_embeddings.yaml --data_folder=demo_corpus

`SpeakerBrain` is that of SpeechBrain's VoxCeleb recipe, without its augmentation and checkpoints: the lobe fits in as
it is, because it takes (wavs, wav_lens) and gives one embedding for each clip. Trains on three of four clips of each
speaker; the others tell the error of identification and, pair by pair, the equal error rate of verification.
"""

import sys

import speechbrain as sb
import torch
from shared import load_clips, read_hparams
from speechbrain.dataio.dataset import FilteredSortedDynamicItemDataset
from speechbrain.utils.metric_stats import EER

from speechbrain_ext.training.run import end_in_a_sentence


class SpeakerBrain(sb.Brain):
    """Waveforms -> embedding -> speaker."""

    def compute_forward(self, batch, stage):
        """Compute the cosine to each speaker, [B, 1, S]."""
        wavs, lens = batch.to(self.device).sig
        feats = self.modules.compute_features(wavs)
        feats = self.modules.mean_var_norm(feats, lens)
        embeddings = self.modules.embedding_model(feats, lens)
        if stage == sb.Stage.TEST:
            self.embeddings.append(embeddings)
            self.speakers.append(batch.label.data.squeeze(1))
        return self.modules.classifier(embeddings), lens

    def compute_objectives(self, predictions, batch, stage):
        """Compute the additive angular margin loss."""
        predictions, lens = predictions
        if stage != sb.Stage.TRAIN:
            self.error_metrics.append(batch.id, predictions, batch.label.data, lens)
        return self.hparams.compute_cost(predictions, batch.label.data, lens)

    def on_stage_start(self, stage, epoch=None):
        """Begin to count errors."""
        self.error_metrics = self.hparams.error_stats()
        self.embeddings, self.speakers = [], []

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Print the loss; after the test, the error rates too."""
        print(f"{stage.name}, epoch {epoch}: loss {stage_loss:.3f}")
        if stage == sb.Stage.TEST:
            speakers, embeddings = torch.cat(self.speakers), torch.cat(self.embeddings)
            scores = torch.nn.functional.cosine_similarity(embeddings[:, None], embeddings, dim=-1)  # [N, N]
            first, second = torch.triu_indices(len(speakers), len(speakers), offset=1)
            scores, same = scores[first, second], speakers[first] == speakers[second]
            eer, _ = EER(scores[same], scores[~same])
            print(f"error of identification {self.error_metrics.summarize('average'):.3f}, EER {eer:.3f}")


def main(argv):
    """Train and test."""
    torch.manual_seed(1)
    hparams, run_opts = read_hparams(argv, __file__, __doc__)
    clips, _ = load_clips(hparams, "speaker", count="n_speakers")
    names = sorted(clips.data_ids, key=lambda name: (clips.data[name]["speaker"], name))
    test = set(names[::4])
    train_data = FilteredSortedDynamicItemDataset(clips, [name for name in names if name not in test])
    test_data = FilteredSortedDynamicItemDataset(clips, [name for name in names if name in test])
    brain = SpeakerBrain(hparams["modules"], hparams["opt_class"], hparams, run_opts)
    brain.fit(hparams["epoch_counter"], train_data, train_loader_kwargs=hparams["train_loader"])
    brain.evaluate(test_data, test_loader_kwargs=hparams["test_loader"])
    return brain


if __name__ == "__main__":
    sys.exit(end_in_a_sentence(main, sys.argv[1:], "speaker_embeddings.py"))
