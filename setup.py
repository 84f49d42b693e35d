"""Packaging of speechbrain-ext; the one place where versions are pinned."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "speechbrain_ext" / "__init__.py").read_text(encoding="utf-8"))[1]

DEMO = ["espeakng-loader>=0.2.4"]  # speech synthesis for the demo corpus, with its voices
RAY = ["ray>=2.40"]  # many runs on many machines
WEB = ["gradio>=6.31,<7"]  # the page in the browser
ONNX = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"]  # the model for other runtimes
TEST = [
    *DEMO,
    *RAY,
    *WEB,
    *ONNX,
    "hypothesis>=6.100",  # property tests
    "playwright>=1.50",  # drives the browser that tests the page
    "pytest>=8.0",
    "pytest-randomly>=3.15",  # tests in any order, seeded
    "pytest-xdist>=3.6",  # a process for each core
    "pyyaml>=6.0",
    "scikit-learn>=1.3",  # an independent opinion on the metrics
    "setuptools>=71",  # builds the wheel that tests/test_packaging.py installs
]
DEV = [
    *TEST,
    "import-linter>=2.1",  # which room may import which
    "mypy>=1.13",
    "pre-commit>=3.5",
    "ruff>=0.6",
    "yamllint>=1.35",
]

setup(
    name="speechbrain-ext",
    version=VERSION,
    description="Speech emotion recognition with label-adaptive mixup and center loss, as a SpeechBrain plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The authors of speechbrain-ext",
    license="Apache-2.0",
    license_files=["LICENSE"],
    url="https://arxiv.org/abs/2305.06273",  # the method's page: the code has no public address yet
    project_urls={
        "Paper": "https://arxiv.org/abs/2305.06273",
        "Authors' code": "https://github.com/leitro/LabelAdaptiveMixup-SER",
        "SpeechBrain": "https://speechbrain.github.io",
    },
    keywords=["speech", "emotion recognition", "SpeechBrain", "HuBERT", "mixup", "IEMOCAP"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    packages=find_packages(include=["speechbrain_ext", "speechbrain_ext.*"]),
    package_data={"speechbrain_ext": ["py.typed", "*/*.yaml"]},
    python_requires=">=3.10",
    install_requires=[
        "speechbrain>=1.1.2,<1.2",  # LengthsCapableSequential passes wav_lens from 1.1.2
        # torchaudio is in maintenance: 2.11 is its last release, and it refuses a torch built for another CUDA.
        "torch>=2.11,<2.15",
        "torchaudio>=2.11,<2.12",
        "transformers>=4.57,<6",
        "safetensors>=0.4",  # weights without code in them
        "hyperpyyaml>=1.2.3,<1.3",
        "ruamel.yaml>=0.18,<0.19",  # 0.19 breaks hyperpyyaml
        "audiomentations>=0.43,<0.44",
        "numpy>=1.26",
        "soundfile>=0.12",
        "silero-vad>=6.2",  # tells speech from silence, noise and music; only its weights (MIT) are used
        "av>=13",  # FFmpeg in a wheel: recordings of phones, and files whose header does not know their length
        "soxr>=0.5",
        "scipy>=1.15",  # bootstrap(rng=...)
        "torchmetrics>=1.4",
        "matplotlib>=3.8",
        "markdown>=3.5",  # report.html out of report.md
        "huggingface_hub>=0.34",  # model cards, and models on the Hub
        "filelock>=3.12",  # one process in a run's folder
        "lazy_loader>=0.4",  # a room imports a module when one of its names is asked for
        "psutil>=5.9",  # the processes that a run has started, ended with it
        "rich>=13.0",  # one display over many runs
        "tensorboard>=2.15",
        "tqdm>=4.66",
    ],
    extras_require={"demo": DEMO, "ray": RAY, "web": WEB, "onnx": ONNX, "test": TEST, "dev": DEV},
    entry_points={"console_scripts": ["speechbrain-ext = speechbrain_ext.commands.main:main"]},
)
