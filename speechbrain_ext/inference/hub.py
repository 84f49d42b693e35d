"""Bundles on the Hugging Face Hub: uploaded, and downloaded."""

import os
from pathlib import Path
from typing import Optional

import huggingface_hub
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from speechbrain_ext.errors import InputError, in_one_line
from speechbrain_ext.inference.bundle import BUNDLE_FILE, check_bundle

HUB_TIMEOUT_S = 5.0  # for the Hub's first answer
FILES = ["*.json", "*.yaml", "*.ckpt", "README.md"]  # of a bundle; not model.onnx


def check_hub_id(hub_id: str) -> None:
    """Refuse what is no USER/NAME.

    Arguments
    ---------
    hub_id : str
        The model's name on the Hub.

    Raises
    ------
    InputError
        Says what is wrong with it.
    """
    try:
        huggingface_hub.utils.validate_repo_id(hub_id)
        if "/" not in hub_id:
            raise HFValidationError("the user is missing.")
    except HFValidationError as error:
        raise InputError(f"a model on the Hub is called USER/NAME, got {hub_id!r}: {in_one_line(error)}") from error


def bundle_files(folder: str | os.PathLike) -> dict[str, int]:
    """List what of a bundle goes to the Hub: those listed files that are there, and bundle.json.

    Arguments
    ---------
    folder : str or pathlib.Path
        The bundle.

    Returns
    -------
    dict
        File name -> size in bytes, sorted by name. What else lies in the folder stays there.
    """
    names = sorted([*check_bundle(folder).about["files"], BUNDLE_FILE])
    return {name: path.stat().st_size for name in names if (path := Path(folder) / name).is_file()}


def push_bundle(folder: str | os.PathLike, hub_id: str, private: bool = True) -> str:
    """Upload a bundle, in one commit.

    Arguments
    ---------
    folder : str or pathlib.Path
        The bundle.
    hub_id : str
        USER/NAME. It is made if it is not there.
    private : bool
        Whether a model that is made is private. One that is there stays as it is.

    Returns
    -------
    str
        The address of the model's page.

    Raises
    ------
    InputError
        If the name is no USER/NAME, nobody is logged in, or the Hub refuses.
    """
    check_hub_id(hub_id)
    names = list(bundle_files(folder))
    api = huggingface_hub.HfApi()
    try:
        page = api.create_repo(hub_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=hub_id, folder_path=str(folder), allow_patterns=names, commit_message=f"Upload {Path(folder).name}"
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        raise InputError(
            f"{hub_id} was not uploaded: {_reason(error)} The bundle stays in {folder}. Log in by `hf auth login` with "
            "a token that may write, and give the same command again."
        ) from error
    return str(page)


def fetch_bundle(hub_id: str, revision: Optional[str] = None) -> Path:
    """Download a bundle into the Hub's cache, or find it there where the Hub cannot be reached.

    Arguments
    ---------
    hub_id : str
        USER/NAME.
    revision : str, optional
        Branch, tag or commit.

    Returns
    -------
    pathlib.Path
        Its folder in the cache. The files are links into the cache of this very model, two folders above.

    Raises
    ------
    InputError
        If there is no such model, or none in the cache where the Hub cannot be reached.
    """
    check_hub_id(hub_id)
    unreachable = None
    try:  # snapshot_download would try again and again, for minutes
        huggingface_hub.HfApi().model_info(hub_id, revision=revision, timeout=HUB_TIMEOUT_S)
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(
            f"{hub_id} is no folder here and no model on the Hugging Face Hub that you may read: {_reason(error)} "
            "Check the name and, for a private model, `hf auth login`."
        ) from error
    except Exception as error:  # of whichever HTTP client the Hub's library has
        unreachable = error
    try:
        return Path(
            huggingface_hub.snapshot_download(
                hub_id, revision=revision, allow_patterns=FILES, local_files_only=unreachable is not None
            )
        )
    except Exception as error:
        raise InputError(
            f"{hub_id} is no folder here, and cannot be downloaded from the Hugging Face Hub: "
            f"{_reason(unreachable or error)} Where there is internet, `hf download {hub_id} --local-dir FOLDER`; then "
            "give that FOLDER here."
        ) from error


def _reason(error: Exception) -> str:
    """Say an error's text in one line."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return text if text.endswith(".") else f"{text}."
