#!/usr/bin/env python3
"""Every family of encoders: ours against transformers' own model, cut at the same layer, by turns, a process each.

OMP_NUM_THREADS=1 python benchmarks/families.py --size small
OMP_NUM_THREADS=1 python benchmarks/families.py --size large --layers 4 --families wavlm whisper

Both have the same layers, random weights and the mean of the last frames, all in fp32, and start from waveforms:
transformers' feature extractors are timed where a family has log-mel features. transformers' Whisper is always padded
to 30 s. Three ways: a loop over clips, a padded batch of them, and a training step on that batch with a frozen feature
encoder: forward, backward, no optimizer.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout runs without being installed
from benchmarks import timing  # first: it says how OpenMP's threads wait
from benchmarks.infer import make_clips

# isort: split
import torch
import transformers
from torch import nn
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from speechbrain_ext.atomic_write import write_json
from speechbrain_ext.dataio.dataset import pad_right
from speechbrain_ext.errors import InputError, check_whole_number
from speechbrain_ext.lobes import TruncatedEncoder
from speechbrain_ext.lobes.families import MODEL_TYPES, get_family
from speechbrain_ext.lobes.pretrained import transformers_class
from speechbrain_ext.versions import versions

OURS, THEIRS = "ours", "transformers"
WAYS = {"loop": "a loop over clips", "batch": "a padded batch", "step": "a training step"}
# (width, heads, feed-forward, channels of the feature encoder, layers)
SIZES = {"tiny": (32, 2, 64, 16, 2), "small": (128, 4, 512, 64, 12), "mid": (512, 8, 2048, 256, 12)}
SIZES["large"] = (1024, 16, 4096, 512, 22)


def make_config(model_type, size, n_layers):
    """Make a family's configuration: that of its large models, with this size."""
    width, heads, feed_forward, channels, _ = SIZES[size]
    names = get_family(model_type).aliases
    sizes = {
        "hidden_size": width,
        "num_hidden_layers": n_layers,
        "num_attention_heads": heads,
        "intermediate_size": feed_forward,
    }
    config = {names.get(key, key): value for key, value in sizes.items()}
    if model_type == "whisper":
        return {"model_type": model_type, **config, "num_mel_bins": 80}
    if model_type == "wav2vec2-bert":
        return {"model_type": model_type, **config}
    config["conv_dim"] = [channels] * 7
    if model_type != "data2vec-audio":  # whose models all have these
        config |= {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
    return {"model_type": model_type, **config}


class Transformers(nn.Module):
    """transformers' own model as its documentation uses it: feature extractor, attention mask, mean of the frames."""

    def __init__(self, config):
        super().__init__()
        family, values = get_family(config["model_type"]), {k: v for k, v in config.items() if k != "model_type"}
        model_config = transformers_class(family.config_class)(**{**values, **family.deterministic})
        if config["model_type"] == "whisper":
            self.model = WhisperEncoder(model_config)
            self.extractor = transformers.WhisperFeatureExtractor()
        else:
            self.model = transformers.AutoModel.from_config(model_config)
            bert = config["model_type"] == "wav2vec2-bert"
            self.extractor = transformers.SeamlessM4TFeatureExtractor() if bert else None
        if hasattr(self.model, "feature_extractor"):
            self.model.feature_extractor._freeze_parameters()

    def forward(self, wavs, wav_lens):
        """Encode waveforms, [B, T] -> [B, D]."""
        n_samples = (wav_lens * wavs.shape[1]).round().long()
        if self.extractor is None:
            mask = (torch.arange(wavs.shape[1]) < n_samples.unsqueeze(1)).long()
            frames = self.model(wavs, attention_mask=mask).last_hidden_state
            own = self.model._get_feature_vector_attention_mask(frames.shape[1], mask)
        else:
            clips = [wav[:n].numpy() for wav, n in zip(wavs, n_samples)]
            inputs = self.extractor(clips, sampling_rate=timing.SAMPLE_RATE_HZ, return_tensors="pt")
            if "attention_mask" in inputs:
                frames, own = self.model(**inputs).last_hidden_state, inputs["attention_mask"]
            else:
                frames = self.model(inputs["input_features"]).last_hidden_state
                own = torch.arange(frames.shape[1]) < (n_samples / 320).unsqueeze(1)
        own = own.unsqueeze(2).float()  # [B, F] -> [B, F, 1]
        return (frames * own).sum(1) / own.sum(1)


def make_model(rival, config, n_layers):
    """Build a rival; both map (wavs, wav_lens) to [B, D]."""
    torch.manual_seed(0)
    if rival == THEIRS:
        return Transformers(config)
    return TruncatedEncoder(
        config=config, num_layers=n_layers, projection_dropout=0.0, feature_reduction="mean", waveform_scale=None
    )


def serve(connection, turn, rival, options):
    """Be a rival's process: build a family when it is named, else run a way once: (seconds, CPU seconds)."""
    clips = make_clips(options.clips)
    batch, model = pad_right(clips), None
    while asked := connection.recv():
        start, cpu_start = time.perf_counter(), time.process_time()
        if asked not in WAYS:
            model = None  # its memory first
            model = make_model(rival, make_config(asked, options.size, options.layers), options.layers)
        elif asked == "step":
            model.train()(*batch).square().mean().backward()
            model.zero_grad()
        else:
            model.eval()
            with torch.inference_mode():
                for inputs in [(clip.unsqueeze(0), torch.ones(1)) for clip in clips] if asked == "loop" else [batch]:
                    model(*inputs)
        connection.send((time.perf_counter() - start, time.process_time() - cpu_start))


def measure(options):
    """Time all families and ways by turns: family -> way -> rival -> seconds and CPU seconds of each round."""
    found = {}
    with timing.processes(serve, (OURS, THEIRS), options) as connections:
        for family in options.families:
            found[family] = {}
            for connection in connections.values():
                connection.send(family)
                connection.recv()
            for way in WAYS:
                rounds = {rival: [] for rival in connections}

                def ask(rival, way=way, rounds=rounds):
                    connections[rival].send(way)
                    rounds[rival].append(connections[rival].recv())

                timing.time_by_turns({rival: lambda rival=rival: ask(rival) for rival in rounds}, options.repeats)
                found[family][way] = {
                    rival: {"seconds": [turn[0] for turn in turns[1:]], "cpu_s": [turn[1] for turn in turns[1:]]}
                    for rival, turns in rounds.items()
                }
    return found


def table(found, n_clips):
    """Write the result as Markdown."""
    lines = [
        "| family | way | ours, utterances/s | transformers / ours | transformers / ours, CPU time |",
        "|---|---|---|---|---|",
    ]
    for family, ways in found.items():
        for way, rivals in ways.items():
            rates = [n_clips / seconds for seconds in rivals[OURS]["seconds"]]
            ratios = [
                timing.spread([a / b for a, b in zip(rivals[THEIRS][key], rivals[OURS][key])], ".2f")
                for key in ("seconds", "cpu_s")
            ]
            lines.append(f"| {' | '.join([family, WAYS[way], timing.spread(rates, '.2f'), *ratios])} |")
    return "\n".join(lines)


def main(argv):
    """Run the benchmark."""
    parser = timing.command_line(__doc__)
    parser.add_argument("--size", default="small", choices=list(SIZES), help="default: %(default)s")
    parser.add_argument("--layers", metavar="N", type=int, help="default: the size's")
    parser.add_argument("--families", nargs="+", default=list(MODEL_TYPES), help="default: all")
    parser.add_argument("--clips", metavar="N", type=int, default=4)
    parser.add_argument("--repeats", metavar="N", type=int, default=3)
    options = parser.parse_args(argv)
    options.layers = SIZES[options.size][-1] if options.layers is None else options.layers
    if set(options.families) - set(MODEL_TYPES):
        raise InputError(f"--families may name {', '.join(MODEL_TYPES)}, got {' '.join(options.families)}.")
    for name in ("layers", "clips", "repeats"):
        check_whole_number(f"--{name}", getattr(options, name), 1)
    found, here, installed = measure(options), timing.machine(), versions()
    width = SIZES[options.size][0]
    print(
        f"{options.layers} layers of width {width}; {options.clips} clips of IEMOCAP's lengths; {here['cpu']}, "
        f"{here['n_threads']} threads; torch {installed['torch']}, transformers {installed['transformers']}. Median "
        f"(lowest to highest) of {options.repeats} rounds.\n\n{table(found, options.clips)}"
    )
    if options.json:
        write_json({"size": options.size, "machine": here, "versions": installed, "measured": found}, options.json)


if __name__ == "__main__":
    timing.run(main)
