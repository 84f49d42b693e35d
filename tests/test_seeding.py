"""Derived seeds: the same everywhere, different for every draw, good for every generator."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import speechbrain_ext
from speechbrain_ext.seeding import derive_seed

parts = st.lists(st.integers(-1000, 2**40), max_size=4).map(tuple)


def test_derive_seed_is_blake2b_of_the_parts():
    """By hand: printf '1\\x1f2' | b2sum -l 32, its four bytes read from the last to the first."""
    assert derive_seed(1, 2) == 0xEBA6EA23
    assert derive_seed(12) == 0x6F927D67


def test_derive_seed_is_the_same_in_another_process():
    code = "from speechbrain_ext.seeding import derive_seed; print(derive_seed('augment', 1, 2, 'Ses01F_impro01_F000'))"
    expected = str(derive_seed("augment", 1, 2, "Ses01F_impro01_F000"))
    for hash_seed in ("1", "2"):
        package = Path(speechbrain_ext.__file__).parents[1]
        env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(package)}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


@settings(derandomize=True, deadline=None)
@given(parts)
def test_derive_seed_is_taken_by_every_generator(identity):
    seed = derive_seed(*identity)
    assert 0 <= seed < 2**32
    random.Random(seed)
    np.random.RandomState(seed)
    torch.Generator().manual_seed(seed)


@settings(derandomize=True, deadline=None)
@given(parts, parts)
def test_derive_seed_differs_where_any_part_does(one, other):
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


def test_derive_seed_differs_by_where_parts_begin_and_by_their_order():
    identities = [(1, 23), (12, 3), (123,), (23, 1), ("a", "b"), ("ab",), ("b", "a"), ("a b",), ("a", "", "b")]
    assert len({derive_seed(*identity) for identity in identities}) == len(identities)


def test_derive_seed_uses_the_whole_range():
    seeds = np.array([derive_seed("epoch", i) for i in range(4000)])
    assert len(set(seeds.tolist())) > 3990
    counts = np.histogram(seeds, bins=8, range=(0, 2**32))[0]
    assert counts.min() > 400 and counts.max() < 600
