"""EncoderCheckpoint: what a checkpoint of an encoder holds, without the frozen weights that its source holds."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    mark_as_transfer,
    register_checkpoint_hooks,
    torch_patched_state_dict_load,
)
from torch import nn

from speechbrain_ext.errors import InputError

BASE_KEY = "base_sha256"  # in a file that holds a part of the weights: what the others have to be


@register_checkpoint_hooks
class EncoderCheckpoint(nn.Module):
    """Saves with SpeechBrain's checkpointer what cannot be read from the encoder's source again.

    Without `base_source` a checkpoint is the whole `state_dict`. With it, parameters that are frozen are left out, and
    the file says their SHA-256: it is loaded into an encoder with the same frozen weights only.

    Attributes
    ----------
    base_source : str, optional
        Where the frozen weights come from.
    """

    base_source: str | None = None
    _digested: tuple[frozenset[str], str] | None = None

    def checkpoint_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds: the state dict, or the part of it that is trained and the rest's SHA-256."""
        state, left_out = self.state_dict(), self._left_out()
        if not left_out:
            return state
        kept = {name: value for name, value in state.items() if name not in left_out}
        return {**kept, BASE_KEY: self._digest(left_out)}

    @mark_as_saver
    def save_checkpoint(self, path: str | Path) -> None:
        """Save `checkpoint_state`."""
        torch.save(self.checkpoint_state(), path)

    @mark_as_transfer
    def transfer_checkpoint(self, path: str | Path) -> None:
        """Load as `load_checkpoint` does, for SpeechBrain's Pretrainer."""
        self.load_checkpoint(path, True)

    @mark_as_loader
    def load_checkpoint(self, path: str | Path, end_of_epoch: bool) -> None:
        """Load what `save_checkpoint` has saved.

        Raises
        ------
        InputError
            If the frozen weights are not those with which the checkpoint was trained.
        """
        del end_of_epoch
        state = torch_patched_state_dict_load(path)
        digest = state.pop(BASE_KEY, None)
        if digest is None:
            self.load_state_dict(state)
            return
        left_out = {name: value for name, value in self._left_out().items() if name not in state}
        if self._digest(left_out) != digest:
            raise InputError(
                f"{path} was trained on other weights than those of {self.base_source}: it holds only what was trained "
                f"(SHA-256 of the frozen weights {digest[:12]}..., here {self._digest(left_out)[:12]}...). Give the "
                "encoder_source with which the run began, or choose another --output_folder."
            )
        self.load_state_dict({**self.state_dict(), **state})

    def _left_out(self) -> dict[str, torch.Tensor]:
        """Return the parameters that need not be saved; buffers may change in training, and are small."""
        if self.base_source is None:
            return {}
        return {name: parameter for name, parameter in self.named_parameters() if not parameter.requires_grad}

    def _digest(self, tensors: dict[str, torch.Tensor]) -> str:
        """Compute the SHA-256 of frozen weights, once: it takes a second a GB."""
        names = frozenset(tensors)
        if self._digested is None or self._digested[0] != names:
            self._digested = names, tensors_sha256(tensors)
        return self._digested[1]


def tensors_sha256(tensors: dict[str, torch.Tensor]) -> str:
    """Compute the SHA-256 of tensors with their names, types and shapes, as a hexadecimal number.

    Example
    -------
    >>> one = tensors_sha256({"weight": torch.tensor([1.0, 2.0])})
    >>> one == tensors_sha256({"weight": torch.tensor([1.0, 2.0])})
    True
    >>> one == tensors_sha256({"weight": torch.tensor([[1.0, 2.0]])})
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
