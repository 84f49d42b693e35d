"""TruncatedEncoder: the first layers of a self-supervised speech encoder as a SpeechBrain lobe (Sec. 2.2)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from speechbrain_ext.dataio.waveform_scale import num_samples, scale_waveforms
from speechbrain_ext.errors import InputError, check_number
from speechbrain_ext.lobes.encoder_checkpoint import EncoderCheckpoint
from speechbrain_ext.lobes.families import get_family
from speechbrain_ext.lobes.family import Family, Layer
from speechbrain_ext.lobes.feature_encoder import raise_malloc_threshold
from speechbrain_ext.lobes.frames import Frames
from speechbrain_ext.lobes.layer import compute_layer
from speechbrain_ext.lobes.lora import add_lora
from speechbrain_ext.lobes.onednn_linear import use_onednn
from speechbrain_ext.lobes.pooling import AttentivePooling, LayerSum
from speechbrain_ext.lobes.preprocessor import SCALES, find_waveform_scale
from speechbrain_ext.lobes.pretrained import (
    config_from_dict,
    config_from_folder,
    find_checkpoint,
    load_model,
    transformers_class,
    truncate_config,
)

REDUCTIONS = ("first", "mean", "attentive", None)
LINEAR = ("first", "mean")  # reductions that may be done before layers are summed
LAYER_WEIGHTS = (None, "learned")
ATTENTIONS = ("sdpa", "eager")


class TruncatedEncoder(EncoderCheckpoint):
    """The first `num_layers` Transformer layers of a self-supervised speech encoder, with feature reduction.

    The output is the raw residual stream after the last kept layer: a LayerNorm that follows the whole model's last
    layer is left out, one that belongs to each layer is not. Layers above are neither allocated nor read. With "first",
    the last kept layer computes its query, output projection and feed-forward for frame 0 alone, which gives the same
    numbers. A clip has the same output alone and in any batch, also where the feature encoder has GroupNorm
    (HuBERT-Base, wav2vec 2.0 Base), whose statistics leave padding out.

    Layers are computed part by part: hooks on a whole Transformer layer, on its attention or on the convolutions of a
    feature encoder with LayerNorm are not called; those on projections, norms, activations and dropouts are.

    Arguments
    ---------
    source : str, optional
        Hub id or folder of a checkpoint; its `model_type` says which of `families` it belongs to.
    save_path : str, optional
        Folder in which a downloaded checkpoint is kept; by default the Hub's own cache.
    config : dict, optional
        Without `source`: values of transformers' configuration of the `model_type` (hubert) for random weights.
    num_layers : int
        How many Transformer layers are kept.
    layer_weights : str, optional
        None takes the last kept layer's output; "learned" a sum with learned softmax weights, as SUPERB: of the first
        layer's input and all kept layers' outputs, as transformers' `hidden_states` has them.
    projection_dropout : float
        Dropout between self-attention and feed-forward in every kept layer. All other dropouts are off.
    feature_reduction : str, optional
        "first" takes the first frame (F_e^0), "mean" averages a clip's own frames, "attentive" takes their attended
        mean and standard deviation (`AttentivePooling`), None keeps all frames.
    freeze_feature_extractor : bool
        Whether the convolutional feature encoder keeps its weights.
    freeze : bool
        Whether the whole pretrained encoder keeps its weights; it then stays in evaluation mode, also after
        `.train()`. Layer weights and attentive pooling are trained all the same.
    waveform_scale : str, optional
        Scaling of each clip before the encoder: "peak", "layer" or None, see `scale_waveforms`; "auto" as the
        checkpoint's preprocessor_config.json says (`find_waveform_scale`).
    attn_implementation : str
        "sdpa" or "eager".
    checkpoint_activations : bool
        Whether training stores only each layer's input and computes the rest again in the backward pass: less memory,
        more time, the same numbers. It replaces transformers' gradient checkpointing.
    compile_layers : bool
        Whether `torch.compile` compiles the two parts of a layer around attention, once for all layers and lengths.
        The first batches then take about a minute, numbers differ by rounding, and dropout by its draw.
    lora_rank : int
        Above 0, only low-rank updates of this rank are trained, see `add_lora`, and an unfrozen feature encoder.
    lora_projections : list of str
        The linear layers within a Transformer layer that are updated; q_proj, k_proj, v_proj and out_proj are those of
        attention in every family, however a checkpoint calls them.

    Attributes
    ----------
    embedding_dim : int
        Size of the output: D, or 2 D with attentive pooling.
    hidden_size : int
        Size D of a frame.
    num_layers : int
        Number of kept layers.
    n_states : int
        Number K of what `layer_features` gives: the kept layers and the first one's input.
    min_samples : int
        Shortest waveform that gives one frame (400 for HuBERT).

    Raises
    ------
    InputError
        If the source holds no usable checkpoint, has fewer layers than asked for, or an argument is unknown.

    Example
    -------
    >>> config = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 4,
    ...           "conv_dim": [16] * 7, "feat_extract_norm": "layer", "do_stable_layer_norm": True,
    ...           "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    >>> encoder = TruncatedEncoder(config=config, num_layers=3)
    >>> encoder(torch.randn(2, 16000), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 32])
    >>> encoder.frame_lengths(torch.tensor([16000, 8000]))
    tensor([49, 24])
    """

    def __init__(
        self,
        source: str | Path | None = None,
        save_path: str | Path | None = None,
        config: dict[str, Any] | None = None,
        num_layers: int = 22,
        layer_weights: str | None = None,
        projection_dropout: float = 0.4,
        feature_reduction: str | None = "first",
        freeze_feature_extractor: bool = True,
        freeze: bool = False,
        waveform_scale: str | None = "peak",
        attn_implementation: str = "sdpa",
        checkpoint_activations: bool = False,
        compile_layers: bool = False,
        lora_rank: int = 0,
        lora_projections: Sequence[str] = ("q_proj", "v_proj"),
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("layer_weights", layer_weights, LAYER_WEIGHTS),
            ("feature_reduction", feature_reduction, REDUCTIONS),
            ("waveform_scale", waveform_scale, SCALES),
            ("attn_implementation", attn_implementation, ATTENTIONS),
        ):
            if value not in known:
                raise InputError(f"{name} must be one of {known}, got {value!r}.")
        check_number("projection_dropout", projection_dropout, 0, 1)
        if source is None and config is None:
            raise InputError("TruncatedEncoder needs a source (Hub id or folder) or a config (dict).")
        if freeze and lora_rank:
            raise InputError(f"freeze=True keeps all weights, and lora_rank is {lora_rank}: leave one of them out.")

        name = "the config" if source is None else repr(str(source))
        folder = None if source is None else find_checkpoint(source, save_path)
        model_config = config_from_dict(config or {}) if folder is None else config_from_folder(folder)
        truncate_config(model_config, num_layers, name)
        model_config._attn_implementation = "eager"  # which all models know; the family computes attention itself
        self.family: Family = get_family(model_config.model_type)(model_config, attn_implementation == "eager")
        self.model: Any = (
            transformers_class(self.family.model_class)(model_config)
            if folder is None
            else load_model(model_config, folder)
        )
        self.family.prepare(self.model)  # the output is the raw residual stream
        for layer in self.layers:
            self.family.set_projection_dropout(layer, projection_dropout)
        self.hidden_size: int = model_config.hidden_size
        self.num_layers, self.n_states = num_layers, num_layers + 1
        self.layer_weights = LayerSum(self.n_states) if layer_weights else None
        self.pooling = AttentivePooling(self.hidden_size) if feature_reduction == "attentive" else None
        self.embedding_dim = self.hidden_size if self.pooling is None else 2 * self.hidden_size
        self.feature_reduction = feature_reduction
        self.waveform_scale = find_waveform_scale(waveform_scale, source, save_path)
        self.freeze = freeze
        self.checkpoint_activations = checkpoint_activations
        self.compile_layers = compile_layers
        raise_malloc_threshold()
        if lora_rank:
            aliases = dict(zip(Family.projection_names, self.family.projection_names))
            add_lora(self.model, self.layers, lora_rank, lora_projections, aliases)
            for module in self.family.feature_encoder(self.model):
                module.requires_grad_(True)
        if freeze or lora_rank:
            self.base_source = None if source is None else str(source)
        if freeze_feature_extractor or freeze:
            for module in self.family.feature_encoder(self.model):
                module.requires_grad_(False)
        if freeze:
            self.model.requires_grad_(False)
            self.model.eval()
            use_onednn(self.model)

    def train(self, mode: bool = True) -> "TruncatedEncoder":
        """Set training mode, unless the whole encoder is frozen."""
        super().train(mode)
        if self.freeze:
            self.model.eval()
        return self

    def architecture(self) -> dict[str, Any]:
        """Return the `config` from which an encoder of the same architecture is built without any checkpoint.

        Returns
        -------
        dict
            Plain values, with `num_hidden_layers` as kept.
        """
        found = self.model.config.to_dict()
        aliases = self.family.aliases
        values = {key: found[aliases.get(key, key)] for key in self.family.bounds if aliases.get(key, key) in found}
        values = {key: list(value) if isinstance(value, (list, tuple)) else value for key, value in values.items()}
        return {"model_type": self.family.model_type, **values}

    @property
    def layers(self) -> nn.ModuleList:
        """The kept layers."""
        return self.family.layers(self.model)

    @property
    def min_samples(self) -> int:
        """Shortest waveform that gives one frame (400 for HuBERT)."""
        return self.family.min_samples

    @property
    def values_a_sample(self) -> float:
        """How many values the widest of its layers computes for a sample of the waveform."""
        return self.family.values_a_sample

    @property
    def max_samples(self) -> Optional[int]:
        """Longest waveform that is taken (30 s for Whisper); None for any."""
        return self.family.max_samples

    def frame_lengths(self, n_samples: torch.Tensor | int) -> torch.Tensor:
        """Count the frames of clips.

        Arguments
        ---------
        n_samples : torch.Tensor or int
            Lengths in samples.

        Returns
        -------
        torch.Tensor
            Lengths in frames, int64, of the same shape.
        """
        return self.family.frame_lengths(torch.as_tensor(n_samples))

    def forward(self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None) -> torch.Tensor:
        """Encode waveforms.

        Arguments
        ---------
        wavs : torch.Tensor
            Padded waveforms at the sample rate that the checkpoint's preprocessor_config.json says (16 kHz), [B, T].
        wav_lens : torch.Tensor, optional
            Relative lengths in (0, 1], [B]. Without it every clip is T samples long.

        Returns
        -------
        torch.Tensor
            [B, D] for "first" and "mean", [B, 2 D] for "attentive"; [B, F, D] for None, where frames beyond a clip's
            `frame_lengths` are zero.

        Raises
        ------
        InputError
            If a clip is shorter than `min_samples`, or a relative length is above 1.
        """
        embedded = self._embed(wavs, wav_lens)
        frames = embedded[1]
        if self.layer_weights is not None and self.feature_reduction in LINEAR:
            return self.layer_weights(torch.stack([*self._states(*embedded)], dim=1))  # [B, K, D] -> [B, D]
        if self.layer_weights is not None:
            weights = self.layer_weights.weights(embedded[0].dtype)
            hidden = sum(weight * state for weight, state in zip(weights, self._states(*embedded)))
        else:
            hidden = self._last_state(*embedded)
        if self.feature_reduction in LINEAR:
            return hidden
        rows = frames.pad(hidden)  # packed, [N, D] -> [B, F, D]
        return rows if self.pooling is None else self.pooling(rows, torch.as_tensor(frames.lengths, device=rows.device))

    def layer_features(self, wavs: torch.Tensor, wav_lens: torch.Tensor | None = None) -> torch.Tensor:
        """Encode waveforms, and keep every layer apart: what `head` makes the encoder's output of.

        Arguments
        ---------
        wavs, wav_lens
            As `forward` takes them.

        Returns
        -------
        torch.Tensor
            [B, K, D] for "first" and "mean", else [B, K, F, D], zero beyond a clip's frames. Along K stand the first
            layer's input and the output of each kept layer: layer k's is number k.
        """
        hidden, frames, positions = self._embed(wavs, wav_lens)
        states = self._states(hidden, frames, positions)
        if self.feature_reduction not in LINEAR:
            states = map(frames.pad, states)
        return torch.stack([*states], dim=1)

    def head(self, feats: torch.Tensor, n_frames: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the output out of `layer_features`: the sum of layers, and pooling.

        Arguments
        ---------
        feats : torch.Tensor
            [B, K, D], or [B, K, F, D].
        n_frames : torch.Tensor, optional
            Frames of each clip, [B]; only attentive pooling needs them.

        Returns
        -------
        torch.Tensor
            As `forward` returns.
        """
        feats = feats[:, -1] if self.layer_weights is None else self.layer_weights(feats)
        return feats if self.pooling is None else self.pooling(feats, n_frames)

    def _last_state(self, hidden: torch.Tensor, frames: Frames, positions: Optional[torch.Tensor]) -> torch.Tensor:
        """Compute all layers; return the last one's output, reduced where the reduction is linear."""
        first_frame = self.feature_reduction == "first"
        for layer in self.layers[:-1]:
            hidden = self._run(layer, hidden, frames, positions)
        hidden = self._run(self.layers[-1], hidden, frames, positions, first_frame)
        return frames.mean(hidden) if self.feature_reduction == "mean" else hidden  # [B, F, D] -> [B, D]

    def _states(
        self, hidden: torch.Tensor, frames: Frames, positions: Optional[torch.Tensor]
    ) -> Iterator[torch.Tensor]:
        """Compute the first layer's input and each layer's output, reduced where the reduction is linear."""
        reduction = self.feature_reduction
        reduce = {"first": frames.first, "mean": frames.mean}.get(reduction or "", lambda state: state)
        yield reduce(hidden)
        for layer in self.layers[:-1]:
            hidden = self._run(layer, hidden, frames, positions)
            yield reduce(hidden)
        hidden = self._run(self.layers[-1], hidden, frames, positions, reduction == "first")
        yield hidden if reduction == "first" else reduce(hidden)

    def _embed(
        self, wavs: torch.Tensor, wav_lens: Optional[torch.Tensor]
    ) -> tuple[torch.Tensor, Frames, Optional[torch.Tensor]]:
        """Compute (the input of the first layer, its layout in memory, what the layers' attention biases share)."""
        n_samples = num_samples(wavs, wav_lens)
        padded = self._check_lengths(n_samples, wavs.shape[1])
        wavs = wavs.to(torch.promote_types(wavs.dtype, torch.float32))  # scaled before it is rounded to half precision
        if padded or self.waveform_scale is not None:
            wavs = scale_waveforms(wavs, wav_lens, self.waveform_scale)
        hidden, frames = self.family.embed(self.model, wavs, n_samples, padded, self._packs(wavs))
        return hidden, frames, self.family.positions(self.model, frames.n_frames)

    def _check_lengths(self, n_samples: torch.Tensor, n_times: int) -> bool:
        """Refuse clips that are too short or longer than the batch, and tell whether any is padded."""
        if torch.compiler.is_exporting():  # a graph cannot raise; see inference.onnx for what it does instead
            return True
        shortest, longest = torch.stack(n_samples.aminmax()).tolist()  # one wait for the device
        if longest > n_times or shortest < 0:  # what is not a number is the smallest of whole numbers
            index = n_samples.argmin() if shortest < 0 else n_samples.argmax()
            raise InputError(
                f"wav_lens must be relative, in (0, 1]: clip {int(index)} of the batch would have "
                f"{n_samples[index]} of {n_times} samples. Divide lengths in samples by the padded length."
            )
        if shortest < self.min_samples:
            raise InputError(
                f"clip {int(n_samples.argmin())} of the batch has {shortest} samples; the encoder needs at least "
                f"{self.min_samples}. Leave it out, or pad it with silence and count the silence as its own."
            )
        if self.max_samples is not None and longest > self.max_samples:
            raise InputError(
                f"clip {int(n_samples.argmax())} of the batch has {longest} samples; a {self.family.model_type} "
                f"encoder takes at most {self.max_samples}, {self.max_samples / 16_000:g} s at 16 kHz. Cut it "
                "(max_train_s and max_eval_s in training), or classify a long recording in windows "
                "(`speechbrain-ext timeline`)."
            )
        return shortest < n_times

    @staticmethod
    def _packs(wavs: torch.Tensor) -> bool:
        """Tell whether frames are packed; a traced graph must not hold the lengths of its example."""
        return wavs.device.type == "cpu" and not torch.compiler.is_exporting() and not torch.jit.is_tracing()

    def _run(
        self,
        layer: Layer,
        hidden: torch.Tensor,
        frames: Frames,
        positions: Optional[torch.Tensor],
        first_frame: bool = False,
    ) -> torch.Tensor:
        """Compute a layer; with `checkpoint_activations`, store only its input for the backward pass."""
        args = self.family, layer, hidden, frames, positions, first_frame, self.compile_layers
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(compute_layer, *args, use_reentrant=False)
        return compute_layer(*args)


TruncatedHuBERT = TruncatedEncoder  # its name in the paper's recipe
