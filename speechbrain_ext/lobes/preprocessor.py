"""What a checkpoint's preprocessor_config.json says of the waveforms that its encoder takes."""

import json
from pathlib import Path
from typing import Any

from speechbrain_ext.dataio.audio import WAVEFORM_SCALES
from speechbrain_ext.errors import InputError
from speechbrain_ext.lobes.families import get_family
from speechbrain_ext.lobes.pretrained import config_from_folder, find_checkpoint

PREPROCESSOR_FILE = "preprocessor_config.json"
SCALES = (*WAVEFORM_SCALES, "auto")
LOG_MEL_RATE_HZ = 16_000


def find_waveform_scale(
    scale: str | None,
    source: str | Path | None = None,
    save_path: str | Path | None = None,
    sample_rate_hz: int | None = None,
) -> str | None:
    """Find the scaling of waveforms that "auto" stands for, and refuse a sample rate that the encoder does not take.

    Arguments
    ---------
    scale : str, optional
        "peak", "layer" or None, see `scale_waveforms`; "auto" is "layer" where the checkpoint's
        preprocessor_config.json says `do_normalize: true` or nothing of it, and None where it says false, or where the
        encoder's features are log-mel spectra, which are scaled by themselves.
    source, save_path
        As in `TruncatedEncoder`.
    sample_rate_hz : int, optional
        Sample rate of the waveforms, compared with the checkpoint's.

    Returns
    -------
    str or None
        "peak", "layer" or None.

    Raises
    ------
    InputError
        If "auto" has nothing to read, or the sample rates differ.

    Example
    -------
    >>> find_waveform_scale("peak")
    'peak'
    """
    if scale not in SCALES:
        raise InputError(f"waveform_scale must be one of {SCALES}, got {scale!r}.")
    if source is None:
        if scale == "auto":
            raise InputError(
                "waveform_scale: auto needs a checkpoint (encoder_source), whose preprocessor_config.json says it. "
                "Without one, choose peak, layer or null."
            )
        return scale
    folder = find_checkpoint(source, save_path)
    path = folder / PREPROCESSOR_FILE
    found = _read(path)
    rate = found.get("sampling_rate", sample_rate_hz)
    if rate is not None and type(rate) is not int:
        raise InputError(f"{path}: sampling_rate must be a whole number, got {rate!r}.")
    config = config_from_folder(folder)
    family = get_family(config.model_type)
    takes_log_mel, computed = family.takes_log_mel, dict(family.preprocessor)
    if takes_log_mel and hasattr(config, "num_mel_bins"):
        computed["feature_size"] = config.num_mel_bins
    for key in computed.keys() & found.keys():
        if found[key] != computed[key]:
            raise InputError(
                f"{path}: {key} must be {computed[key]} for this encoder's log-mel spectra, got {found[key]!r}. Put "
                "the checkpoint's own file there."
            )
    if takes_log_mel and rate not in (None, LOG_MEL_RATE_HZ):
        raise InputError(
            f"the encoder of {folder} takes log-mel spectra, which are computed at {LOG_MEL_RATE_HZ} Hz; sample_rate "
            f"or {PREPROCESSOR_FILE} says {rate} Hz. Give recordings at {LOG_MEL_RATE_HZ} Hz, and a checkpoint for it."
        )
    if sample_rate_hz is not None and rate != sample_rate_hz:
        raise InputError(
            f"sample_rate is {sample_rate_hz}, and {path} says that the encoder takes {rate} Hz: "
            f"set sample_rate to {rate}."
        )
    if scale != "auto":
        return scale
    if takes_log_mel:
        return None
    if not path.is_file():
        hub_id = "HUB_ID" if Path(source).expanduser().is_dir() else source
        raise InputError(
            f"waveform_scale: auto needs {path}, and there is none. Put the checkpoint's own there (`hf download "
            f"{hub_id} {PREPROCESSOR_FILE}`), or choose layer (zero mean and unit variance, as most encoders were "
            "trained), peak or null."
        )
    normalize = found.get("do_normalize", True)
    if not isinstance(normalize, bool):
        raise InputError(f"{path}: do_normalize must be true or false, got {normalize!r}.")
    return "layer" if normalize else None


def _read(path: Path) -> dict[str, Any]:
    """Read a preprocessor_config.json; an empty dict where there is none."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}. Copy it again from where it is whole.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} is not a JSON object. Copy it again from where it is whole.")
    return found
