"""Whisper's released weights: where each model can be had, and what its files must contain.

For openai-whisper: OpenAI's own checkpoints, the SHA-256 of which is a part of their address.

For CTranslate2: the repositories of the Hugging Face hub that faster-whisper names. Those below are pinned to a
revision and to the SHA-256 and size of every file, as several others have published them as well; what is downloaded
from there is what they had. For any other repository the hub itself is asked for its latest revision, and for the
SHA-256 of its large files. That finds a transfer that went wrong, and a mirror or cache that serves something else
than the hub has; it is no protection from the hub itself. No file of either kind is run: they hold numbers and words.

HF_ENDPOINT stands for the hub where it is set.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from singscript_models.download import DownloadFailed, Source

_FILES = ("config.json", "preprocessor_config.json", "tokenizer.json", "vocabulary.json", "vocabulary.txt", "model.bin")
_TIMEOUT_S = 15.0


def names() -> list[str]:
    """All models that can be had from either place, in the order of the two packages, second names left out."""
    known = dict.fromkeys([*_hub_catalogue(), *_openai_catalogue()])
    return [name for name in known if canonical(name) == name]


def canonical(model: str) -> str:
    """The name under which the weights of a model are kept: "large-v3-turbo" for "turbo"."""
    for known in (_hub_catalogue(), _openai_catalogue()):
        if model in known:
            return next(name for name, place in known.items() if place == known[model])
    return model


def repository(model: str) -> str:
    """Where the hub has a model for CTranslate2; empty where it has none."""
    return _hub_catalogue().get(model, "")


def hub() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def pinned(model: str) -> dict[str, Source]:
    """Each file of a model for CTranslate2, the weights last; empty where their sums are not known."""
    place = repository(model)
    if place not in _PINNED:
        return {}
    revision, files = _PINNED[place]
    url = f"{hub()}/{place}/resolve/{revision}"
    return {name: Source(f"{url}/{name}", sha256, size_bytes) for name, (sha256, size_bytes) in files.items()}


def declared(model: str) -> dict[str, Source]:
    """Each file of a model for CTranslate2, the weights last, as the hub has them now, with the sums that it declares.

    Raises:
        DownloadFailed: the hub cannot be reached, or does not have it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    place, host = repository(model), urlsplit(hub()).hostname
    try:
        told = HfApi(hub()).model_info(place, files_metadata=True, timeout=_TIMEOUT_S)
    except HfHubHTTPError as error:
        raise DownloadFailed(f"{host} answered {error.response.status_code} for {place}.") from error
    except (httpx.HTTPError, OSError) as error:
        raise DownloadFailed(f"{host} cannot be reached.") from error
    url = f"{hub()}/{place}/resolve/{told.sha}"
    files = {file.rfilename: file for file in told.siblings or ()}
    wanted = [files[name] for name in _FILES if name in files]
    return {
        file.rfilename: Source(f"{url}/{file.rfilename}", lfs.sha256 if (lfs := file.lfs) else "", file.size)
        for file in wanted
    }


def openai(model: str) -> Source | None:
    """Where OpenAI has the checkpoint of a model."""
    url = _openai_catalogue().get(model)
    return Source(url, url.split("/")[-2]) if url else None


def _hub_catalogue() -> Mapping[str, str]:
    return _catalogue("faster_whisper", "utils.py")


def _openai_catalogue() -> Mapping[str, str]:
    return _catalogue("whisper", "__init__.py")


@cache
def _catalogue(package: str, file: str) -> Mapping[str, str]:
    """The literal `_MODELS` of an installed package: model name → where its weights are.

    Read from the source: importing either Whisper package loads PyTorch, which takes seconds and memory.
    """
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        for node in ast.parse((Path(folder) / file).read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_MODELS":
                return ast.literal_eval(node.value)
    return {}


_Files = dict[str, tuple[str, int]]


def _files(config: tuple[str, int], model: tuple[str, int], others: _Files) -> _Files:
    return {"config.json": config, **others, "model.bin": model}


# Models of one vocabulary share these; each is a SHA-256 and a size in bytes.
_MULTILINGUAL: _Files = {
    "tokenizer.json": ("fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab", 2_203_239),
    "vocabulary.txt": ("34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913", 459_861),
}
_ENGLISH: _Files = {
    "tokenizer.json": ("929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df", 2_128_466),
    "vocabulary.txt": ("ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf", 422_309),
}
_V3: _Files = {
    "preprocessor_config.json": ("7ccc62c6f2765af1f3b46c00c9b5894426835a05021c8b9c01eecb6dfb542711", 340),
    "tokenizer.json": ("6d8cbd7cd0d8d5815e478dac67b85a26bbe77c1f5e0c6d76d1ce2abc0e5f21ca", 2_480_617),
    "vocabulary.json": ("c69260f2ab26d659b7c398f9a2b2b48ed0df16c3b47d7326782fd9cba71690c1", 1_068_114),
}
_TURBO: _Files = _V3 | {
    "tokenizer.json": ("297b13372ac43916285644fb9687add3cc62ee2a1adb60da3dc25cc94c1871fd", 2_710_337),
}

# repository: revision and files
_PINNED: dict[str, tuple[str, _Files]] = {
    "Systran/faster-whisper-tiny": (
        "d90ca5fe260221311c53c58e660288d3deb8d356",
        _files(
            ("a73a28cdfe1c43ccc7202fa333d1f89c202477271407ae9a7f19afa52039cac8", 2_249),
            ("dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1", 75_538_270),
            _MULTILINGUAL,
        ),
    ),
    "Systran/faster-whisper-base": (
        "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        _files(
            ("56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", 2_309),
            ("d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", 145_217_532),
            _MULTILINGUAL,
        ),
    ),
    "Systran/faster-whisper-small": (
        "536b0662742c02347bc0e980a01041f333bce120",
        _files(
            ("b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828", 2_370),
            ("3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671", 483_546_902),
            _MULTILINGUAL,
        ),
    ),
    "Systran/faster-whisper-medium": (
        "08e178d48790749d25932bbc082711ddcfdfbc4f",
        _files(
            ("3622a2ddc41ec0e0fd4e68c13c6830f03b90c38d89aaad184de02c8c642cf807", 2_257),
            ("9b45e1009dcc4ab601eff815b61d80e60ce3fd8c74c1a14f4a282258286b51ae", 1_527_906_378),
            _MULTILINGUAL,
        ),
    ),
    "Systran/faster-whisper-large-v2": (
        "f0fe81560cb8b68660e564f55dd99207059c092e",
        _files(
            ("d86b7a7664a12559d644aa210a32ce9a7e03913e794b7ea4fb7182de69e273a7", 2_796),
            ("bf2a9746382e1aa7ffff6b3a0d137ed9edbd9670c3b87e5d35f5e85e70d0333a", 3_086_912_962),
            _MULTILINGUAL,
        ),
    ),
    "Systran/faster-whisper-large-v3": (
        "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        _files(
            ("a9306624f5ec14270a014b647e5c316b6e03a662c369758d1b90697a7b0655b9", 2_394),
            ("69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1", 3_087_284_237),
            _V3,
        ),
    ),
    "mobiuslabsgmbh/faster-whisper-large-v3-turbo": (
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        _files(
            ("b0253ea6c0d3bea6b1e19e91a02acfd3b53f4467362efcb5a3e6b16c9b3a9b7e", 2_263),
            ("e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da", 1_617_884_929),
            _TURBO,
        ),
    ),
    "Systran/faster-whisper-tiny.en": (
        "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
        _files(
            ("14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5", 2_317),
            ("1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a", 75_537_502),
            _ENGLISH,
        ),
    ),
    "Systran/faster-whisper-base.en": (
        "3d3d5dee26484f91867d81cb899cfcf72b96be6c",
        _files(
            ("f3bc3821e9fc76a27bae538e11ae5b677dcdd352b4600429ce7951d398569aeb", 2_227),
            ("2a166925539a16005f14ff328359f9b9adb9dc4fb631bb3b227526862e93e2ef", 145_216_508),
            _ENGLISH,
        ),
    ),
    "Systran/faster-whisper-small.en": (
        "d1d751a5f8271d482d14ca55d9e2deeebbae577f",
        _files(
            ("666a9605530ac1f61fa8177f3702b4dacec9966749e42610839fcc32661d5fae", 2_657),
            ("62b2a45b05ee59acb4a5341b33ee35e041395d378d418a18acfe4c9e768ee37a", 483_545_366),
            _ENGLISH,
        ),
    ),
    "Systran/faster-whisper-medium.en": (
        "a29b04bd15381511a9af671baec01072039215e3",
        _files(
            ("4a1848ebabe7938d9797c15a2e8e4ce1d36e6fd4a43d096ae5955257c67c7962", 2_643),
            ("11b220779aea4c6f3ce9d2549c8a95ea869ed84066864b999531ef53e594fe5b", 1_527_904_330),
            _ENGLISH,
        ),
    ),
    "Systran/faster-distil-whisper-large-v3": (
        "c3058b475261292e64a0412df1d2681c06260fab",
        _files(
            ("90c55f775cc4e0bb17293d0bf12f96557a486f20dea886fabd8e6075a3588b21", 2_690),
            ("b79368e19b6623813609431a6e5ee309a71506701ebc49fd7820e692dec7c5f5", 1_512_927_867),
            _V3,
        ),
    ),
}
