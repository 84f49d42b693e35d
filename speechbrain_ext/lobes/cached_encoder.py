"""CachedEncoder: what stands above a frozen encoder, in its place where a cache holds its features."""

import functools
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
    torch_patched_state_dict_load,
)
from torch import nn

from speechbrain_ext.checksums import sha256_of
from speechbrain_ext.dataio.remembered_hashes import RememberedHashes
from speechbrain_ext.dataio.waveform_scale import num_samples
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.encoder_checkpoint import BASE_KEY, tensors_sha256
from speechbrain_ext.lobes.pooling import AttentivePooling, LayerSum
from speechbrain_ext.lobes.preprocessor import find_waveform_scale
from speechbrain_ext.lobes.pretrained import (
    config_from_folder,
    count_layers,
    find_checkpoint,
    truncate_config,
    weight_files,
)
from speechbrain_ext.lobes.truncated_encoder import TruncatedEncoder


@register_checkpoint_hooks
class CachedEncoder(nn.Module):
    """A frozen `TruncatedEncoder` that takes features of its layers instead of waveforms.

    The Transformer itself is not built: not a weight of it is held. `build` makes it, for who fills the cache. Its
    checkpoints are those of the frozen encoder: what is trained above it, and the SHA-256 of its weights.

    Arguments
    ---------
    **arguments
        Those of `TruncatedEncoder`, with `freeze=True`.

    Attributes
    ----------
    embedding_dim, num_layers, min_samples, max_samples, architecture
        As in `TruncatedEncoder`.
    cached_states : range
        Which of `TruncatedEncoder.layer_features` are cached: layer k's output is number k, the first layer's input 0.
    states : slice
        Which of these `forward` takes.

    Raises
    ------
    InputError
        If `TruncatedEncoder` refuses the arguments, or the encoder is not frozen.
    """

    head: Any = TruncatedEncoder.head  # it needs `layer_weights` and `pooling` alone

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        if not arguments.get("freeze"):
            raise InputError("features are cached of a frozen encoder only: set freeze=True.")
        self.arguments = arguments
        self.seed = torch.initial_seed()  # random weights are drawn with it, as they are without a cache
        self.folder, config = None, arguments.get("config")
        if arguments.get("source") is not None:
            self.folder = find_checkpoint(arguments["source"], arguments.get("save_path"))
            found = config_from_folder(self.folder)
            n_layers, default = count_layers(found), type(found)()
            config = {key: value for key, value in found.to_dict().items() if hasattr(default, key)}
            truncate_config(found, arguments.get("num_layers", 22), repr(str(arguments["source"])))  # or refuse it
        scale = arguments.get("waveform_scale", "peak")
        self.waveform_scale = find_waveform_scale(scale, arguments.get("source"), arguments.get("save_path"))
        known = {"source": None, "config": config, "waveform_scale": self.waveform_scale}
        with torch.device("meta"):
            outline = TruncatedEncoder(**{**arguments, **known})
        self.architecture, self.num_layers = outline.architecture, outline.num_layers
        self.min_samples, self.max_samples = outline.min_samples, outline.max_samples
        self.embedding_dim = outline.embedding_dim
        self.layer_weights = LayerSum(outline.n_states) if outline.layer_weights else None
        self.pooling = AttentivePooling(outline.hidden_size) if outline.pooling else None
        first = 0 if self.layer_weights else self.num_layers
        if self.pooling is not None:  # all frames: no more than is needed
            self.cached_states = range(first, self.num_layers + 1)
        else:  # little: of a checkpoint all layers, for any number of them
            self.cached_states = range((self.num_layers if self.folder is None else n_layers) + 1)
        start = self.cached_states.start
        self.states = slice(first - start, self.num_layers + 1 - start)
        self.base_sha256 = ""
        self.random_weights: dict[str, torch.Tensor] = {}

    def build(self, num_layers: int | None = None) -> TruncatedEncoder:
        """Build the encoder, by default with all layers whose features are cached."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return TruncatedEncoder(**{**self.arguments, "num_layers": num_layers or self.cached_states.stop - 1})

    def identity(self, hashes: RememberedHashes) -> dict[str, Any]:
        """Return plain values that decide which features a clip has: architecture, weights, layers, reduction, scaling.

        Arguments
        ---------
        hashes : RememberedHashes
            Knows the hashes of weights that have not changed.
        """
        architecture = self.architecture()
        del architecture["num_hidden_layers"]
        if self.folder is None:
            self.random_weights = self.build().state_dict()
            weights = tensors_sha256(self.random_weights)
        else:
            files = weight_files(self.folder)
            weights = "+".join(hashes.get("weights", file, functools.partial(sha256_of, file)) for file in files)
            kept = f"the first {self.num_layers} layers of {weights}"
            self.base_sha256 = hashes.get(kept, files[0], self._kept_sha256)
        return {
            "model_type": architecture.pop("model_type"),
            "architecture": architecture,
            "weights": weights,
            "layers": list(self.cached_states),
            "reduction": None if self.pooling else self.arguments["feature_reduction"],
            **({"waveform_scale": self.waveform_scale} if self.waveform_scale else {}),
        }

    def _kept_sha256(self) -> str:
        return str(self.build(self.num_layers).checkpoint_state()[BASE_KEY])

    def forward(self, feats: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Compute from features what the encoder would from waveforms.

        Arguments
        ---------
        feats : torch.Tensor
            The chosen `states` of cached features, [B, frames F, layers K, D]; F is 1 where frames have been reduced.
        lengths : torch.Tensor, optional
            Relative lengths in frames, [B].

        Returns
        -------
        torch.Tensor
            [B, `embedding_dim`].
        """
        feats = feats.to(torch.promote_types(feats.dtype, torch.float32))
        if self.pooling is None:
            return self.head(feats.squeeze(1))  # [B, 1, K, D] -> [B, K, D]
        n_frames = num_samples(feats[:, :, 0, 0], lengths)
        return self.head(feats.transpose(1, 2), n_frames)  # [B, F, K, D] -> [B, K, F, D]

    def checkpoint_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: with random weights all of them, else those that are trained."""
        if self.folder is None:
            return {**self.random_weights, **self.state_dict()}
        return {**self.state_dict(), BASE_KEY: self.base_sha256}

    @mark_as_saver
    def save_checkpoint(self, path: str | Path) -> None:
        """Save `checkpoint_state`."""
        torch.save(self.checkpoint_state(), path)

    @mark_as_loader
    def load_checkpoint(self, path: str | Path, end_of_epoch: bool) -> None:
        """Load what is trained.

        Raises
        ------
        InputError
            If the checkpoint was trained on another encoder.
        """
        del end_of_epoch
        state = torch_patched_state_dict_load(path)
        if state.get(BASE_KEY, "") != self.base_sha256:
            raise InputError(
                f"{path} was trained on features of other weights than those of {self.arguments['source']}. Give the "
                "encoder_source with which the run began, or choose another --output_folder."
            )
        self.load_state_dict({name: state[name] for name in self.state_dict()})
