"""ONNX: a trained classifier as one file that onnxruntime runs without PyTorch, waveform in, log-posteriors out.

    session = onnxruntime.InferenceSession("model.onnx")
    log_posteriors, embeddings = session.run(None, {"wavs": wavs, "wav_lens": wav_lens})
    emotions = json.loads(session.get_modelmeta().custom_metadata_map["emotions"])

The scaling of the waveforms, the padding mask and the feature reduction stand in the graph. It takes float32: `wavs`
[batch, time], mono at the file's `sample_rate` and otherwise as recorded, and `wav_lens` [batch], relative lengths in
(0, 1]. It gives `log_posteriors` [batch, emotions] and `embeddings` [batch, D]; batch and time are free.

In int8 the encoder's products with weights are computed in whole numbers, by onnxruntime's dynamic quantization:
weights by output channel, their inputs by what a batch holds. Convolutions, f_0 and f_1 stay in float32.
"""

import contextlib
import importlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

import torch
from speechbrain.inference.classifiers import EncoderClassifier
from torch import nn

from speechbrain_ext.dataio.waveform_scale import num_samples
from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.embedding_model import EmbeddingModel

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
ONNX_FILES = {"fp32": "model.onnx", "int8": "model_int8.onnx"}  # their names in a bundle
HEAD = ("embedding_model.f_0.", "classifier.")  # weights that are never quantized: their products cost nothing
INPUTS, OUTPUTS = ("wavs", "wav_lens"), ("log_posteriors", "embeddings")
TOLERANCE = 1e-4
INT8_TOLERANCE = 0.1  # of a posterior
LARGEST_FILE_BYTES = 1_900_000_000  # a protobuf ends at 2 GiB; above this the weights stand in a file beside it


def write_onnx(classifier: EncoderClassifier, path: str | os.PathLike, precision: str = "fp32") -> None:
    """Write a classifier as an ONNX file, after a check that onnxruntime agrees with PyTorch.

    What PyTorch refuses, a graph cannot: of a clip that is shorter than the encoder's `min_samples` or longer than its
    `max_samples` (both in the file's metadata), or whose relative length is above 1, all outputs are NaN; onnxruntime
    itself fails where `time` is too short for one frame.

    Arguments
    ---------
    classifier : speechbrain.inference.classifiers.EncoderClassifier
        As `load_classifier` returns it, on the CPU and in fp32.
    path : str or pathlib.Path
        The file to write, such as model.onnx; missing folders are made. It takes its place when it is complete and
        checked. Weights above 2 GB go to `<path>.data`, which has to stay beside it.
    precision : str
        "fp32", or "int8": a quarter of the size, and faster where the processor has AVX-512 VNNI or the like. A clip's
        posteriors then depend on its batch, a little, as the batch decides how finely numbers are rounded.

    Raises
    ------
    InputError
        If a package is missing, the classifier is not on the CPU or not in fp32, or onnxruntime's numbers are not
        PyTorch's. What stood at `path` stays then.
    """
    if precision not in ONNX_FILES:
        raise InputError(f"precision must be one of {', '.join(ONNX_FILES)}, got {precision!r}.")
    _import_packages()
    model = _Graph(classifier.mods.embedding_model, classifier.mods.classifier).eval()
    weights = [*model.parameters(), *model.buffers()]
    for device in {weight.device for weight in weights if weight.device.type != "cpu"}:
        raise InputError(
            f"the classifier is on {device}, and an ONNX file is made and checked on the CPU. "
            'Load it with load_classifier(bundle, {"device": "cpu"}).'
        )
    if classifier.mods.embedding_model.half_precision is not None:
        raise InputError(
            "the classifier is in half precision, and an ONNX file is made from weights in fp32. "
            'Load it with load_classifier(bundle, {"precision": "fp32"}).'
        )
    encoder = classifier.mods.embedding_model.encoder
    metadata = {
        "emotions": json.dumps(list(classifier.hparams.emotions), ensure_ascii=False),
        "sample_rate": str(classifier.hparams.sample_rate),
        "min_samples": str(encoder.min_samples),
    }
    if classifier.mods.embedding_model.longest_samples is not None:
        metadata["max_samples"] = str(classifier.mods.embedding_model.longest_samples)
    program = _to_onnx(model, encoder.min_samples, metadata)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        # The file has its name already: it refers to the one with the weights by name.
        temporary = Path(folder) / path.name
        n_bytes = sum(weight.numel() * weight.element_size() for weight in weights)
        program.save(temporary, external_data=n_bytes > LARGEST_FILE_BYTES)
        _check_agreement(temporary, model, TOLERANCE)
        if precision == "int8":
            temporary = _quantize(temporary, large=n_bytes / 4 > LARGEST_FILE_BYTES)
            _check_agreement(temporary, model, INT8_TOLERANCE, posteriors_alone=True)
        for written in sorted(temporary.parent.glob(f"{path.name}*"), reverse=True):  # <path>.data before <path>
            os.replace(written, path.parent / written.name)


class _Graph(nn.Module):
    """What the file computes."""

    embedding_model: EmbeddingModel

    def __init__(self, embedding_model: EmbeddingModel, classifier: nn.Module):
        super().__init__()
        self.embedding_model = embedding_model
        self.classifier = classifier

    def forward(self, wavs: torch.Tensor, wav_lens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn waveforms [B, T] and relative lengths [B] into log-posteriors [B, C] and embeddings [B, D]."""
        emb = self.embedding_model(wavs, wav_lens)
        if self.embedding_model.mask_padding:
            n_samples, shortest = num_samples(wavs, wav_lens), self.embedding_model.encoder.min_samples
        else:  # the encoder is told no lengths: each clip is as long as the batch
            n_samples, shortest = num_samples(wavs), self.embedding_model.min_samples
        refused = (n_samples < shortest) | (n_samples > wavs.shape[1])
        if self.embedding_model.longest_samples is not None:
            refused = refused | (n_samples > self.embedding_model.longest_samples)
        emb = emb.masked_fill(refused.unsqueeze(1), float("nan"))
        return self.classifier(emb), emb


def _import_packages() -> None:
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(
                f'{name} is not installed. pip install "speechbrain-ext[onnx]" (or pip install {" ".join(PACKAGES)}).'
            ) from error


def _to_onnx(model: _Graph, min_samples: int, metadata: dict[str, str]) -> torch.onnx.ONNXProgram:
    # Three clips of about 50 frames: a size of 1 would be taken for a constant.
    example = (torch.zeros(3, 40 * min_samples + 1), torch.tensor([1.0, 0.5, 0.25]))
    free = torch.export.Dim.DYNAMIC
    with _quiet("torch.onnx"), torch.no_grad():
        # strict: SpeechBrain's length_to_mask takes len() of a tensor, which the other way of tracing makes a constant.
        traced = torch.export.export(model, example, dynamic_shapes=({0: free, 1: free}, {0: free}), strict=True)
        program = torch.onnx.export(
            traced,
            dynamo=True,  # the exporter by TorchScript is deprecated
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes=({0: "batch", 1: "time"}, {}),  # names for the free sizes
            verbose=False,
        )
    if program is None:  # only where it writes a file by itself
        raise RuntimeError("torch.onnx.export returned nothing")
    graph = program.model.graph
    for node in graph:  # the exporter notes the source lines there, with the paths of this machine
        node.metadata_props.clear()
    for value in [*graph.inputs, *graph.outputs, *graph.initializers.values()]:
        value.metadata_props.clear()
    program.model.metadata_props.update(metadata)
    return program


def _quantize(path: Path, large: bool) -> Path:
    """Write an int8 copy in a folder of its own, under the same name, as it may refer to the weights beside it."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(path, load_external_data=False).graph.node
    head = [node.name for node in nodes if any(name.startswith(HEAD) for name in node.input)]
    quantized = path.parent / "int8" / path.name
    quantized.parent.mkdir()
    with _quiet(None):  # it recommends what the exporter has done
        quantize_dynamic(
            path,
            quantized,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=[*head, *(f"{name}_MatMul" for name in head)],  # what it makes of a Gemm
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
    return quantized


def _check_agreement(path: Path, model: _Graph, tolerance: float, posteriors_alone: bool = False) -> None:
    """Compare onnxruntime with PyTorch for clips alone and for a padded batch, of even and odd numbers of frames."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    embedding_model = model.embedding_model
    n_short = 20 * embedding_model.encoder.min_samples
    # Long enough for cutting to be seen.
    n_long = max(3 * n_short, *(n or 0 for n in (embedding_model.max_samples, embedding_model.fixed_samples))) + 1600
    generator = torch.Generator().manual_seed(0)
    alone = ((n_short + n_more, [1.0]) for n_more in (0, 161))  # log-mel frames are 160 samples apart
    for n_times, lengths in (*alone, (n_long, [n_short / n_long, 1.0])):
        wavs = 0.1 * torch.randn(len(lengths), n_times, generator=generator)
        wav_lens = torch.tensor(lengths)
        found = session.run(OUTPUTS, {"wavs": wavs.numpy(), "wav_lens": wav_lens.numpy()})
        with torch.inference_mode():
            wanted = model(wavs, wav_lens)
        compared = zip(OUTPUTS, wanted, map(torch.from_numpy, found))
        if posteriors_alone:
            compared = zip(["posteriors"], [wanted[0].exp()], [torch.from_numpy(found[0]).exp()])
        for name, ours, theirs in compared:
            # Embeddings have no scale of their own: their largest value is the measure where it is above 1.
            scale = max(1.0, ours.abs().max().item()) if name == "embeddings" else 1.0
            difference = (ours - theirs).abs().max().item() / scale
            if not difference <= tolerance:  # NaN as well
                raise InputError(
                    f"onnxruntime and PyTorch differ by {difference:.1e} in {name} for clips of {n_times} samples; at "
                    f"most {tolerance:g} is allowed. No file was written. Another version of torch, onnxscript or "
                    "onnxruntime may help."
                )


@contextlib.contextmanager
def _quiet(name: Optional[str]) -> Iterator[None]:
    """Silence the warnings of a logger, None for the root: of packages and steps that are not needed here."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
