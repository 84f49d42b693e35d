"""Weights of pretrained encoders: the files that hold them, and those tensors that a truncated model needs."""

import json
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from speechbrain_ext.dataio.lfs_pointer import is_lfs_pointer
from speechbrain_ext.errors import InputError, first_few, in_one_line

# In transformers' own order of preference.
WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
UNREADABLE = (OSError, ValueError, TypeError, RuntimeError, KeyError, EOFError, SafetensorError, UnpicklingError)
CONVERTED = (torch.float16, torch.bfloat16, torch.float64)  # to float32; all other types are of quantized weights
MAPPED_BYTES = 2**23  # of weights in half precision, read before their pages are given back
# Names of a weight norm's direction and length before PyTorch 2, and now.
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
logger = logging.getLogger(__name__)


def weight_files(folder: Path) -> list[Path]:
    """List the files of a checkpoint's weights: one, or the shards that its index names, missing ones too."""
    for path in (folder / name for name in WEIGHTS):
        if path.is_file() and path.suffix != ".json":
            return [path]
        if path.is_file():
            try:
                names = set(json.loads(path.read_bytes())["weight_map"].values())
                return [folder / Path(name).name for name in sorted(names)]
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise InputError(f"{path} is no index of weights. {copy_again(path)}") from error
    raise InputError(f"source {str(folder)!r} holds no weights: model.safetensors or pytorch_model.bin is missing.")


def load_weights(model: nn.Module, folder: Path, prefixes: Sequence[str], unused: tuple[str, ...]) -> None:
    """Give a model the weights of a checkpoint that it needs, in float32; further layers are left out.

    Memory peaks at the bytes of what is kept: weights in float32 stay pages of the mapped file until they are used,
    others are converted one by one. (A pickle that is no zip archive, from before PyTorch 1.6, is read as a whole.)

    Arguments
    ---------
    model : torch.nn.Module
        The model, on the "meta" device: without memory for its weights.
    folder : Path
        Folder of the checkpoint.
    prefixes : sequence of str
        What may stand before the model's own names in a checkpoint's; the first that fits is taken off.
    unused : tuple of str
        Prefixes of the model's weights that are not needed, and stay without memory.

    Raises
    ------
    InputError
        If a file is damaged, or weights are missing, of another shape, quantized, NaN or infinite.
    """
    needed = {name: weight for name, weight in model.state_dict().items() if not name.startswith(unused)}
    found: dict[str, torch.Tensor] = {}
    left_over = []
    for path in weight_files(folder):
        check_weight_file(path)
        try:
            for name, weight in _read(path, needed, prefixes):
                if name in found:
                    raise InputError(f"{path} holds a second {name}. Give a checkpoint that holds each weight once.")
                if name in needed and not weight.is_meta:  # a pickle may name weights that it does not hold
                    found[name] = weight
                elif name not in needed:
                    left_over.append(name)
        except InputError:
            raise
        except UNREADABLE as error:
            raise InputError(f"{path} cannot be read: {in_one_line(error)}. {copy_again(path)}") from error
    missing = sorted(needed.keys() - found.keys())
    misshapen = sorted(name for name in found if found[name].shape != needed[name].shape)
    if missing or misshapen:
        raise InputError(
            f"the weights in {str(folder)!r} do not fit its config.json: {_some(missing)} missing, "
            f"{_some(misshapen)} of another shape. Give the config.json that belongs to them."
        )
    floats = (name for name in found if needed[name].is_floating_point())  # BatchNorm counts its batches
    quantized = sorted(name for name in floats if found[name].dtype != torch.float32)
    if quantized:
        raise InputError(
            f"the weights in {str(folder)!r} are quantized: {_some(quantized)} of type {found[quantized[0]].dtype}. "
            "Give the checkpoint that they were made from."
        )
    broken = sorted(name for name, weight in found.items() if not weight.isfinite().all())
    if broken:
        raise InputError(
            f"the weights in {str(folder)!r} are NaN or infinite: {_some(broken)}. Take another checkpoint."
        )
    modules = dict(model.named_modules())
    misfits = sorted(name for name in left_over if not name.startswith(unused) and _has_a_place(name, modules))
    if misfits:
        logger.warning(
            "The weights in %r hold %s for which its config.json has no use. Does it belong to them?",
            str(folder),
            _some(misfits),
        )
    model.load_state_dict(found, strict=False, assign=True)


def _has_a_place(name: str, modules: dict[str, nn.Module]) -> bool:
    """Tell whether a weight would belong to a part that the model has: not to a head, or to a layer above."""
    parent = name
    while parent not in modules:
        parent = parent.rpartition(".")[0]
    return parent.count(".") > 0 and not isinstance(modules[parent], nn.ModuleList)


def _read(path: Path, needed: dict[str, torch.Tensor], prefixes: Sequence[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights of a file by the model's names, those that are needed in float32.

    Pages that were read belong to the process as long as the file is mapped: it is mapped anew now and then.
    """
    weights, n_bytes = map_weights(path), 0
    is_mapped = path.suffix == ".safetensors" or zipfile.is_zipfile(path)
    for key in sorted(weights, key=lambda key: weights[key].dtype == torch.float32):  # these keep their mapping
        name = _own_name(key, prefixes)
        weight = weights[key]
        if name in needed and weight.dtype in CONVERTED:
            n_bytes += weight.nbytes
            weight = weight.float()
        yield name, weight
        if is_mapped and n_bytes > MAPPED_BYTES:
            weights, n_bytes = map_weights(path), 0


def _own_name(key: str, prefixes: Sequence[str]) -> str:
    """Turn a checkpoint's name of a weight into the model's.

    Example
    -------
    >>> _own_name("hubert.encoder.pos_conv_embed.conv.weight_g", ["hubert."])
    'encoder.pos_conv_embed.conv.parametrizations.weight.original0'
    """
    key = key.removeprefix(next(filter(key.startswith, prefixes), ""))
    module, _, last = key.rpartition(".")
    return f"{module}.{WEIGHT_NORM[last]}" if last in WEIGHT_NORM else key


def map_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return a file's tensors as they are in the mapped file: none is read before it is used."""
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    return {key: weight for key, weight in weights.items() if isinstance(key, str) and isinstance(weight, torch.Tensor)}


def check_weight_file(path: Path) -> None:
    """Refuse a file of weights that is missing, empty, cut short, a git-LFS pointer or a pickle with code."""
    if not path.is_file():
        raise InputError(f"{path} is missing, which the index beside it names. {copy_again(path)}")
    if not path.stat().st_size:
        raise InputError(f"{path} is empty. {copy_again(path)}")
    if is_lfs_pointer(path):
        raise InputError(f"{path} is a git-LFS pointer, not the weights. Run `git lfs pull` in its folder.")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                return
        # On "meta" no weight is read: from an archive, the pickle alone.
        weights = torch.load(path, map_location="meta", weights_only=True, mmap=zipfile.is_zipfile(path) or None)
    except UNREADABLE as error:
        if isinstance(error, UnpicklingError) and (named := re.search(r"GLOBAL (\S+)", str(error))):
            raise InputError(
                f"{path} would run code when it is loaded ({named[1]}), and is not loaded. Use a checkpoint with "
                "model.safetensors, or one whose file holds nothing but weights."
            ) from error
        raise InputError(f"{path} is damaged or cut short ({path.stat().st_size} bytes). {copy_again(path)}") from error
    if not isinstance(weights, dict):
        raise InputError(f"{path} holds no weights by their names. Give a checkpoint as transformers saves it.")


def copy_again(path: Path) -> str:
    """Tell how to replace a file."""
    return f"Download {path.name} again, or copy it again from where it is whole."


def _some(names: list[str]) -> str:
    """Count names and show the first three.

    Example
    -------
    >>> _some(["a", "b", "c", "d"])
    '4 (a, b, c, ...)'
    """
    return f"{len(names)} ({first_few(names)})" if names else "0"
