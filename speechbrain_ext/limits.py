"""Limits: how much of everything is read, built or served. What is beyond is refused from the numbers alone.

They are wider than any recording or model needs. docs/predict.md lists them.
"""

# A recording. The bytes of a header, or of silence that is compressed, can claim more than memory holds.
SHORTEST_S = 0.025  # one frame of the encoder, 400 samples at 16 kHz
LONGEST_RECORDING_S = 24 * 3600.0
LARGEST_RATE_HZ = 384_000  # recorders stop there
LARGEST_N_CHANNELS = 64
MOST_SAMPLES_A_SECOND = 1_600_000  # of all channels: 8 at 192 kHz, 32 at 48 kHz
MOST_SAMPLES = 24 * 3600 * 96_000  # of all channels: a day at 48 kHz in stereo; where no length is told, it ends there
MOST_HEADER_PARTS = 256  # chunks and tags before the samples, each of which may be of 8 bytes
MOST_BLOCKS = 5_000_000  # of a container, each with a header: a day in blocks of 20 ms has 4,320,000
# What is made of it.
LONGEST_PREDICTED_S = 120.0  # --max_s of `predict`: an emotion seldom lasts that long
LONGEST_CLIP_S = 3600.0  # that is read as a whole; max_s
MOST_FIXED_SAMPLES = 120 * 48_000  # to which fixed_length_s pads each clip, of however little
LONGEST_WINDOW_S = 300.0  # of a timeline
SHORTEST_HOP_S = 0.01
LONGEST_ON_PAGE_S = 1800.0
MOST_SAMPLES_ON_PAGE = 1800 * 96_000  # of all channels: half an hour at 48 kHz, stereo
MOST_FOLDS = 100_000  # that a report looks for
# A bundle, and an encoder's config.json.
LARGEST_JSON_BYTES = 65_536
LONGEST_TEXT = 1000
MOST_LABELS = 1000
RATES_HZ = (1000, LARGEST_RATE_HZ)
LARGEST_EMBEDDING = 65_536
MOST_LAYERS = 200
LARGEST_HIDDEN_SIZE = 16_384
LARGEST_INTERMEDIATE_SIZE = 65_536
MOST_HEADS = 1024
MOST_CONVOLUTIONS = 20
LARGEST_CONVOLUTION = 4096  # channels, kernel and stride
SAMPLES_A_FRAME = (10, 100_000)  # the product of the strides: HuBERT's is 320
MOST_VALUES_A_SAMPLE = 512  # that a layer computes for each sample of the waveform: HuBERT's first has 102
