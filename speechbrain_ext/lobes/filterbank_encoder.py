"""FilterbankEncoder: log-mel filterbanks, their statistics and a small ECAPA-TDNN, all of SpeechBrain's parts.

It is for those who have no pretrained weights and no GPU.
"""

from collections.abc import Mapping
from typing import Any, Optional

import torch
from speechbrain.dataio.dataio import length_to_mask
from speechbrain.lobes.features import Fbank
from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN, SERes2NetBlock
from torch import nn

from speechbrain_ext.dataio.waveform_scale import num_samples
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.feature_encoder import raise_malloc_threshold
from speechbrain_ext.rules import Rule, check_values, list_of, one_of, whole

MODEL_TYPE = "filterbank"
# All that decides what the encoder computes, each with the values that a bundle may have.
BOUNDS: dict[str, Rule] = {
    "model_type": one_of(MODEL_TYPE),
    "n_mels": whole(8, 256),
    "window_ms": whole(5, 100),
    "hop_ms": whole(2, 50),
    "channels": whole(8, 4096),
    "dilations": list_of(whole(1, 64), 1, 16),
    "res2net_scale": whole(2, 16),
    "squeezed_channels": whole(1, 4096),
    "pooled_channels": whole(8, 16_384),
    "attention_channels": whole(1, 4096),
    "embedding_dim": whole(1, 16_384),
}
N_STATISTICS = 4


class FilterbankEncoder(nn.Module):
    """From waveforms to one vector a clip, by statistics of filterbanks and by what an ECAPA-TDNN finds in them.

    Log-mel filterbanks, with zero mean and unit variance a band over the training clips, go two ways: into a small
    ECAPA-TDNN with attentive statistics pooling, and directly into four statistics a band (mean and standard deviation
    of the band and of its changes from frame to frame). One layer with ReLU joins them.

    The parts are SpeechBrain's `Fbank` and `ECAPA_TDNN`. What differs from `ECAPA_TDNN.forward`: a clip's vector is the
    same alone and in any batch. Frames after a clip's end are zero before each convolution, which pads with zeros too
    (SpeechBrain's reflects what stands at the row's end). BatchNorm inside the network counts those frames in training.

    Arguments
    ---------
    config : dict
        The architecture, with the keys of `BOUNDS`; model_type may be left out. n_mels, window_ms, hop_ms: the
        filterbanks. channels: of the first layer and of each SE-Res2 block. dilations: one a block. res2net_scale,
        squeezed_channels: of each block. pooled_channels, attention_channels: of the pooling. embedding_dim: of the
        output.
    sample_rate_hz : int
        Sample rate of the waveforms.
    dropout : float
        Of the statistics, and of the output, in training.
    equalizer_db : float
        In training each clip gets a random frequency response: standard deviation of its gain at five frequencies, with
        straight lines between them.

    Attributes
    ----------
    embedding_dim : int
        Size of the output.
    min_samples : int
        Samples of the shortest clip, one window.
    values_a_sample : float
        How many values the widest step computes for a sample of the waveform.

    Raises
    ------
    InputError
        For a value out of its bounds, and for channels that res2net_scale does not divide.

    Example
    -------
    >>> config = {"n_mels": 16, "window_ms": 25, "hop_ms": 10, "channels": 8, "dilations": [2], "res2net_scale": 2,
    ...           "squeezed_channels": 4, "pooled_channels": 8, "attention_channels": 4, "embedding_dim": 6}
    >>> FilterbankEncoder(config)(torch.zeros(3, 16000), torch.tensor([1.0, 0.5, 0.2])).shape
    torch.Size([3, 6])
    """

    def __init__(
        self, config: Mapping[str, Any], sample_rate_hz: int = 16_000, dropout: float = 0.0, equalizer_db: float = 0.0
    ) -> None:
        super().__init__()
        self.config = {"model_type": MODEL_TYPE, **config}
        check_values(self.config, BOUNDS, prefix="encoder_config.")
        if config["channels"] % config["res2net_scale"]:
            raise InputError(
                f"encoder_config.channels must be a multiple of res2net_scale, {config['res2net_scale']}, got "
                f"{config['channels']}."
            )
        raise_malloc_threshold()
        self.embedding_dim: int = config["embedding_dim"]
        self.equalizer_db = equalizer_db
        self.min_samples = round(sample_rate_hz * config["window_ms"] / 1000)
        self.hop_samples = round(sample_rate_hz * config["hop_ms"] / 1000)
        widest = max(self.min_samples + 2, config["channels"], config["pooled_channels"])  # complex spectra, in pairs
        self.values_a_sample = max(1.0, widest / self.hop_samples)
        n_mels, n_blocks, pooled = config["n_mels"], len(config["dilations"]), config["pooled_channels"]
        with torch.device("cpu"):  # its tables are no weights: a file of weights could not fill them
            self.filterbanks = Fbank(
                sample_rate=sample_rate_hz,
                n_mels=n_mels,
                n_fft=self.min_samples,
                win_length=config["window_ms"],
                hop_length=config["hop_ms"],
            )
        self.band_norm = nn.BatchNorm1d(n_mels, affine=False)
        self.network = ECAPA_TDNN(
            n_mels,
            lin_neurons=pooled,
            channels=[config["channels"]] * (n_blocks + 1) + [pooled],
            kernel_sizes=[5, *[3] * n_blocks, 1],
            dilations=[1, *config["dilations"], 1],
            groups=[1] * (n_blocks + 2),
            res2net_scale=config["res2net_scale"],
            se_channels=config["squeezed_channels"],
            attention_channels=config["attention_channels"],
        )
        for module in self.network.modules():
            if hasattr(module, "padding_mode"):
                module.padding_mode = "constant"  # zeros
        self.statistics_norm = nn.Sequential(nn.BatchNorm1d(N_STATISTICS * n_mels), nn.Dropout(dropout))
        self.last_layer = nn.Sequential(
            nn.Linear(pooled + N_STATISTICS * n_mels, self.embedding_dim),
            nn.ReLU(),
            nn.BatchNorm1d(self.embedding_dim),
            nn.Dropout(dropout),
        )

    def architecture(self) -> dict[str, Any]:
        """Return the configuration from which the same encoder can be built."""
        return dict(self.config)

    def frame_lengths(self, n_samples: torch.Tensor) -> torch.Tensor:
        """Count the frames of clips, from their lengths in samples."""
        return n_samples // self.hop_samples + 1

    def forward(self, wavs: torch.Tensor, wav_lens: Optional[torch.Tensor] = None) -> torch.Tensor:
        """Encode clips.

        Arguments
        ---------
        wavs : torch.Tensor
            Padded waveforms, [B, T].
        wav_lens : torch.Tensor, optional
            Relative lengths in (0, 1], [B]. Without it every clip is T samples long.

        Returns
        -------
        torch.Tensor
            [B, embedding_dim].
        """
        n_samples = num_samples(wavs, wav_lens)
        n_frames = self.frame_lengths(n_samples)
        for part in (self.network.asp_bn, self.statistics_norm, self.last_layer):
            for norm in part.modules():
                if isinstance(norm, nn.BatchNorm1d):  # a clip alone has no statistics: the running ones serve
                    norm.train(self.training and len(wavs) > 1)
        with torch.no_grad():
            feats, own = self._features(wavs, n_samples, n_frames)  # [B, F, M], [B, F]
            statistics = _statistics(feats, own)  # [B, 4 M]
        emb = torch.cat([self._run_network(feats, own, n_frames), self.statistics_norm(statistics)], dim=1)
        return self.last_layer(emb)

    def _features(
        self, wavs: torch.Tensor, n_samples: torch.Tensor, n_frames: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute filterbanks [B, F, M], zero after each clip's end, and which frames are a clip's own [B, F]."""
        padding = ~length_to_mask(n_samples, max_len=wavs.shape[1], dtype=torch.bool)  # [B, T]
        feats = self.filterbanks(wavs.float().masked_fill(padding, 0.0))
        own = length_to_mask(n_frames, max_len=feats.shape[1], dtype=torch.bool)
        if self.training:
            normed = torch.zeros_like(feats)
            normed[own] = self.band_norm(feats[own])  # of own frames, [N, M]
            feats = normed + self._random_responses(len(feats))
        else:
            feats = self.band_norm(feats.transpose(1, 2)).transpose(1, 2)
        return feats.masked_fill(~own.unsqueeze(2), 0.0), own

    def _random_responses(self, n_clips: int) -> torch.Tensor:
        """Draw a frequency response for each clip, [B, 1, M], in units of each band's standard deviation."""
        stds = self.band_norm.get_buffer("running_var").sqrt()  # in dB
        points = self.equalizer_db * torch.randn(n_clips, 1, 5, device=stds.device)
        return nn.functional.interpolate(points, size=len(stds), mode="linear", align_corners=True) / stds

    def _run_network(self, feats: torch.Tensor, own: torch.Tensor, n_frames: torch.Tensor) -> torch.Tensor:
        """Compute what `ECAPA_TDNN.forward` does, blind to padding: [B, F, M] -> [B, C]."""
        own = own.unsqueeze(1)  # [B, 1, F]
        # Half a frame less: SpeechBrain multiplies by F again, and a rounding error must not add a frame.
        lengths = (n_frames - 0.5) / feats.shape[1]
        first, *blocks = self.network.blocks
        frames = first(feats.transpose(1, 2)) * own  # [B, F, M] -> [B, C, F]
        outputs = []
        for block in blocks:
            frames = _run_block(block, frames, own, lengths)
            outputs.append(frames)
        frames = self.network.mfa(torch.cat(outputs, dim=1))
        pooled = self.network.asp_bn(self.network.asp(frames, lengths))  # [B, 2 C, 1]
        return self.network.fc(pooled).squeeze(2)


def _run_block(block: SERes2NetBlock, frames: torch.Tensor, own: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Compute what the block does to [B, C, F], with zeros after each clip's end before each convolution over time."""
    first, *parts = block.tdnn1(frames).chunk(block.res2net_block.scale, dim=1)
    outputs = [first]
    for i, (part, layer) in enumerate(zip(parts, block.res2net_block.blocks)):
        outputs.append(layer((part + outputs[-1] if i else part) * own))
    hidden = block.tdnn2(torch.cat(outputs, dim=1))
    return (block.se_block(hidden, lengths) + frames) * own


def _statistics(feats: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Compute what is said of each band and its changes, over a clip's own frames: [B, F, M] -> [B, 4 M]."""
    changes = feats[:, 1:] - feats[:, :-1]
    mean, std = _mean_and_std(feats, own)
    _, std_of_changes = _mean_and_std(changes, own[:, 1:])
    size_of_changes, _ = _mean_and_std(changes.abs(), own[:, 1:])
    return torch.cat([mean, std, size_of_changes, std_of_changes], dim=1)


def _mean_and_std(values: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the mean and the standard deviation over a clip's own frames, [B, F, M] -> two [B, M]."""
    own = own.unsqueeze(2)
    n_frames = own.sum(dim=1).clamp(min=1)
    mean = (values * own).sum(dim=1) / n_frames
    squares = ((values - mean.unsqueeze(1)) * own).square().sum(dim=1)
    return mean, (squares / n_frames).sqrt()
