"""Rows of a grid for encoders that are compared: each with a sum of all its layers, or with single layers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

from speechbrain_ext.errors import InputError, parse_numbers
from speechbrain_ext.lobes.pretrained import config_from_folder, count_layers, find_checkpoint
from speechbrain_ext.results.tested_run import METRICS_FILE, read_metrics

SUM, EACH = "sum", "each"  # a learned sum of all layers; every single layer
Row = dict[str, Any]


def encoder_rows(encoders: Sequence[str], layers: str) -> list[Row]:
    """Make a row for each encoder and choice of layers.

    Arguments
    ---------
    encoders : list of str
        Hub ids or folders.
    layers : str
        "sum", "each", or numbers of single layers such as "6,12-24", joined by commas.

    Returns
    -------
    list of dict
        Rows as in a grid file: name, cells (encoder, layers) and overrides.

    Raises
    ------
    InputError
        If an encoder is not found, named twice, or has fewer layers.
    """
    encoders = [str(Path(encoder).resolve()) if Path(encoder).is_dir() else encoder for encoder in encoders]
    names = [Path(encoder).name for encoder in encoders]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--encoders names {name!r} twice: its runs would share a folder. Rename one of them.")
    rows = []
    for encoder, name in zip(encoders, names):
        n_layers = count_layers(config_from_folder(find_checkpoint(encoder)))
        for choice in layers.split(","):
            if choice == SUM:
                rows.append(_row(encoder, name, SUM, n_layers, "learned"))
                continue
            numbers = range(1, n_layers + 1) if choice == EACH else _numbers(choice)
            for number in numbers:
                if not 1 <= number <= n_layers:
                    raise InputError(f"--layers names layer {number}, but {name} has {n_layers}: 1 to {n_layers}.")
                rows.append(_row(encoder, name, number, number, None))
    return rows


def rows_with_runs(folder: Path) -> list[Row]:
    """Find the rows that have been run, by the settings that their first run says.

    Arguments
    ---------
    folder : pathlib.Path
        The grid's folder: a row's runs are in <row>/.
    """
    rows = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        for file in sorted(path.rglob(METRICS_FILE))[:1]:
            try:
                settings = read_metrics(file)["hyperparameters"]
                encoder, number, weights = (settings[key] for key in ("encoder_source", "num_layers", "layer_weights"))
            except (InputError, KeyError):  # another version's, or being written
                continue
            rows.append(_row(encoder, Path(str(encoder)).name, SUM if weights else number, number, weights))
    return rows


def _row(encoder: str, name: str, layers: str | int, number: int, weights: Optional[str]) -> Row:
    overrides = {"encoder_source": encoder, "num_layers": number, "layer_weights": weights}
    return {"name": f"{name}-{layers}", "cells": [name, layers], "overrides": overrides}


def _numbers(choice: str) -> list[int]:
    try:
        return parse_numbers("--layers", choice)
    except InputError as error:
        raise InputError(f"{error} Or sum, or each.") from error
