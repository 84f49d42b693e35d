"""Putting a bundle on the Hugging Face Hub."""

from pathlib import Path

import huggingface_hub
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OfflineModeIsEnabled

from speechbrain_ext.errors import InputError
from speechbrain_ext.inference.bundle import BUNDLE_FILE, check_bundle


def check_hub_id(hub_id):
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
        raise InputError(f"a model on the Hub is called USER/NAME, got {hub_id!r}: {error}") from error


def bundle_files(folder):
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


def push_bundle(folder, hub_id, private=True):
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
            repo_id=hub_id, folder_path=folder, allow_patterns=names, commit_message=f"Upload {Path(folder).name}"
        )
    except (HfHubHTTPError, LocalTokenNotFoundError, OfflineModeIsEnabled, OSError) as error:
        why = " ".join(str(error).split())
        raise InputError(
            f"{hub_id} was not uploaded: {why[:300]} The bundle stays in {folder}. Log in by `hf auth login` with a "
            "token that may write, and give the same command again."
        ) from error
    return str(page)
