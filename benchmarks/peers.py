"""The peers, written anew from their description: what others run for the same task, at the sizes asked for.

Each has `batch(clips)`, which pads as that peer does, and `step(batch)`, one step of its training: forward, loss,
backward, optimizers, and the loss read on the CPU. `n_layers`, `precision` and `trained` say what the step is. (c)
and (d) also classify: `posteriors(wavs, wav_lens)`. None has the housekeeping of a training loop, which ours has.
"""

import contextlib
import tempfile
from pathlib import Path

import torch
import transformers
from speechbrain.integrations.huggingface.hubert import HuBERT
from speechbrain.nnet.pooling import StatisticsPooling
from torch import nn
from torchaudio.models import wav2vec2_model

transformers.utils.logging.disable_progress_bar()

ADAM = {"lr": 1e-4, "betas": (0.9, 0.98), "eps": 1e-9}
FIXED_SAMPLES = 100_000
N_CLASSES = 4
EMB_DIM = 64
# Of facebook/hubert-large-ll60k's configuration: who loads it with either lobe trains with these.
SHIPPED = {
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.1,
    "layerdrop": 0.1,
    "mask_time_prob": 0.05,
}
PLAIN = {**dict.fromkeys(SHIPPED, 0.0), "apply_spec_augment": False}


class AuthorsLoop:
    """(a) and, with precision "bf16", (b): the authors' loop.

    All layers of torchaudio's `hubert_large` are run on 100 000 samples a clip without a mask, and one of them is read
    at its first frame. Everything is trained; the layers above the one that is read get no gradient. Their GRU, which
    is built and never used, is left out.
    """

    trained = "everything"

    def __init__(self, config, n_layers, device="cpu", precision="fp32"):
        feature_encoder = zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"])
        self.model = wav2vec2_model(
            extractor_mode="layer_norm",
            extractor_conv_layer_config=[tuple(layer) for layer in feature_encoder],
            extractor_conv_bias=False,
            encoder_embed_dim=config["hidden_size"],
            encoder_projection_dropout=0.0,
            encoder_pos_conv_kernel=config.get("num_conv_pos_embeddings", 128),
            encoder_pos_conv_groups=config.get("num_conv_pos_embedding_groups", 16),
            encoder_num_layers=config["num_hidden_layers"],
            encoder_num_heads=config["num_attention_heads"],
            encoder_attention_dropout=0.0,
            encoder_ff_interm_features=config["intermediate_size"],
            encoder_ff_interm_dropout=0.0,
            encoder_dropout=0.0,
            encoder_layer_norm_first=True,
            encoder_layer_drop=0.0,
            aux_num_out=None,
        ).to(device)
        self.read_layer, self.n_layers = n_layers, config["num_hidden_layers"]
        for layer in self.model.encoder.transformer.layers[:n_layers]:
            layer.dropout.p = 0.4
        self.f_0 = nn.Linear(config["hidden_size"], EMB_DIM).to(device)
        self.f_1 = nn.Linear(EMB_DIM, N_CLASSES).to(device)
        self.centers = nn.Parameter(torch.randn(N_CLASSES, EMB_DIM, device=device))
        network = [*self.model.parameters(), *self.f_0.parameters(), *self.f_1.parameters()]
        self.optimizers = [torch.optim.Adam(network, **ADAM), torch.optim.Adam([self.centers], **{**ADAM, "lr": 1e-3})]
        self.device, self.precision = device, precision

    def batch(self, clips):
        """Cut clips to 100 000 samples, or pad them with their means: (wavs [B, 100000], targets [B, C])."""
        rows = [clip[:FIXED_SAMPLES] for clip in clips]
        rows = [torch.cat([row, row.mean().expand(FIXED_SAMPLES - len(row))]) for row in rows]
        labels = torch.arange(len(rows)) % N_CLASSES
        return torch.stack(rows).to(self.device), nn.functional.one_hot(labels, N_CLASSES).float().to(self.device)

    def step(self, batch):
        """Train on one batch; return the loss."""
        wavs, targets = batch
        self.model.train()
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        with products_in_full_fp32():
            with autocast(self.device, self.precision):
                feats = self.model.extract_features(wavs)[0][self.read_layer - 1]  # [B, F, D]
                emb = self.f_0(feats[:, 0])
                logits = self.f_1(emb)
            recognition = nn.functional.kl_div(logits.float().log_softmax(-1), targets, reduction="batchmean")
            center = (emb.float() - self.centers[targets.argmax(1)]).square().sum(1).mean()
            (recognition + 0.002 * center).backward()
        for optimizer in self.optimizers:
            optimizer.step()
        return recognition.item() + center.item()


class PaddedPeer:
    """What both lobes share: padding to the longest clip of a batch with zeros, and the frozen feature encoder.

    The feature encoder is frozen because the recipe that each comes with does so: SpeechBrain's IEMOCAP recipe and
    transformers' example of audio classification.
    """

    trained = "all but the feature encoder"

    def batch(self, clips):
        """Pad clips: (wavs [B, T], relative lengths [B], labels [B])."""
        lengths = torch.tensor([len(clip) for clip in clips])
        wavs = nn.utils.rnn.pad_sequence(list(clips), batch_first=True)
        labels = torch.arange(len(lengths)) % N_CLASSES
        return wavs.to(self.device), (lengths / wavs.shape[1]).to(self.device), labels.to(self.device)

    def _train_on(self, log_posteriors, labels):
        loss = nn.functional.nll_loss(log_posteriors.float(), labels)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()


class StockLobe(PaddedPeer):
    """(c): SpeechBrain's `HuBERT` lobe as its IEMOCAP recipe uses it: averaged frames and one linear layer."""

    def __init__(self, config, n_layers, device="cpu", precision="fp32", dropouts=SHIPPED, weights=None):
        model = transformers.HubertModel(hubert_config(config, n_layers, dropouts))
        if weights is not None:
            load_encoder(model, weights)
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(model, folder)
            self.lobe = HuBERT(folder, folder, output_norm=True, freeze_feature_extractor=True).to(device)
        self.pool = StatisticsPooling(return_std=False)
        self.head = nn.Linear(config["hidden_size"], N_CLASSES, bias=False).to(device)
        encoder = [p for p in self.lobe.parameters() if p.requires_grad]
        self.optimizers = [torch.optim.Adam(part, **ADAM) for part in (encoder, self.head.parameters())]
        self.device, self.precision, self.n_layers = device, precision, n_layers

    def log_posteriors(self, wavs, wav_lens):
        """Classify a batch, [B, C]."""
        feats = self.lobe(wavs, wav_lens)  # [B, F, D]
        return self.head(self.pool(feats, wav_lens).squeeze(1)).log_softmax(-1)

    def posteriors(self, wavs, wav_lens):
        """Classify a batch without training."""
        self.lobe.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            return self.log_posteriors(wavs, wav_lens).exp()

    def step(self, batch):
        """Train on one batch; return the loss."""
        wavs, wav_lens, labels = batch
        self.lobe.train()
        with autocast(self.device, self.precision):
            log_posteriors = self.log_posteriors(wavs, wav_lens)
        return self._train_on(log_posteriors, labels)


class SequenceClassification(PaddedPeer):
    """(d): transformers' `HubertForSequenceClassification`."""

    def __init__(self, config, n_layers, device="cpu", precision="fp32", dropouts=SHIPPED, weights=None):
        self.model = transformers.HubertForSequenceClassification(hubert_config(config, n_layers, dropouts))
        if weights is not None:
            load_encoder(self.model.hubert, weights)
        self.model.freeze_feature_encoder()
        self.model.to(device)
        self.optimizers = [torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], **ADAM)]
        self.device, self.precision, self.n_layers = device, precision, n_layers

    def logits(self, wavs, wav_lens):
        """Classify a batch, [B, C]."""
        n_samples = (wav_lens * wavs.shape[1]).round().unsqueeze(1)  # [B] -> [B, 1]
        mask = (torch.arange(wavs.shape[1], device=wavs.device) < n_samples).long()
        return self.model(wavs, attention_mask=mask).logits

    def posteriors(self, wavs, wav_lens):
        """Classify a batch without training."""
        self.model.eval()
        with torch.inference_mode(), autocast(self.device, self.precision):
            return self.logits(wavs, wav_lens).softmax(-1)

    def step(self, batch):
        """Train on one batch; return the loss."""
        wavs, wav_lens, labels = batch
        self.model.train()
        with autocast(self.device, self.precision):
            logits = self.logits(wavs, wav_lens)
        return self._train_on(logits.log_softmax(-1), labels)


def autocast(device, precision):
    """Return a context in which operations run in that precision."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(torch.device(device).type, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[precision])


@contextlib.contextmanager
def products_in_full_fp32():
    """Switch TF32 off for matrix products, as torch has it; to import SpeechBrain, as the authors do not, sets it."""
    found = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = found


def hubert_config(config, n_layers, dropouts):
    """Make transformers' configuration of `n_layers` layers of these sizes."""
    sizes = {key: value for key, value in config.items() if key != "model_type"}
    return transformers.HubertConfig(**{**sizes, "num_hidden_layers": n_layers, **dropouts, "num_labels": N_CLASSES})


def load_encoder(model, weights):
    """Give a HubertModel the weights of a truncated one, which has no LayerNorm after its last layer and no mask."""
    found = model.load_state_dict(weights, strict=False)
    missing = [key for key in found.missing_keys if not key.startswith(("encoder.layer_norm.", "masked_spec_embed"))]
    if missing or found.unexpected_keys:
        raise ValueError(f"the weights do not fit: missing {missing}, unexpected {found.unexpected_keys}.")


def save_checkpoint(model, folder):
    """Write a checkpoint folder as the Hub has them: configuration, weights and feature extractor."""
    model.save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True, do_normalize=True)
    extractor.save_pretrained(folder)
    return Path(folder)


PEERS = {
    "a": ("authors' loop", AuthorsLoop),
    "b": ("authors' loop, bf16", AuthorsLoop),
    "c": ("SpeechBrain's HuBERT lobe", StockLobe),
    "d": ("HubertForSequenceClassification", SequenceClassification),
}


def make_peer(key, config, n_layers, device, precision, dropouts=SHIPPED):
    """Make a peer by its letter; (a) and (b) have a precision of their own, the others have ours."""
    if key in "ab":
        return AuthorsLoop(config, n_layers, device, {"a": "fp32", "b": "bf16"}[key])
    return PEERS[key][1](config, n_layers, device, precision, dropouts)
