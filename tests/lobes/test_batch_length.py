"""How much an encoder is given at a time."""

from types import SimpleNamespace

from speechbrain_ext.lobes.batch_length import batches_by_length, longest_batch_s

LENGTHS_S = {"a": 4.0, "b": 3.0, "c": 3.0, "d": 1.0, "e": 0.5}


def test_a_batch_on_a_cpu_keeps_the_widest_layers_output_in_the_caches():
    encoder = SimpleNamespace(values_a_sample=100)  # float32: 400 bytes a sample
    assert longest_batch_s(encoder, "cpu", 16000) == 32e6 / (400 * 16000) == 5.0
    assert longest_batch_s(SimpleNamespace(values_a_sample=1), "cpu", 16000) == 240.0
    assert longest_batch_s(encoder, "cuda:0", 16000) == 240.0


def test_batches_are_bounded_by_clips_and_by_their_length_with_padding():
    def batches(batch_size, max_padded_s):
        return ["".join(batch) for batch in batches_by_length(list(LENGTHS_S), LENGTHS_S, batch_size, max_padded_s)]

    assert batches(2, 100.0) == ["ab", "cd", "e"]
    assert batches(9, 6.0) == ["a", "bc", "de"]  # two of 4 s would be 8 s, three of 3 s 9 s
    assert batches(9, 1.0) == ["a", "b", "c", "d", "e"]  # a clip that is too long is a batch by itself
    assert batches(9, 100.0) == ["abcde"]
    assert list(batches_by_length([], {}, 9, 1.0)) == []
