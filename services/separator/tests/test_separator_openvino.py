"""A transformer that OpenVINO computes gives what torch gives; which of both computes is measured once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from demucs.apply import Model
from demucs.demucs import DConv
from demucs.htdemucs import HTDemucs
from tiny_demucs import SEGMENT_SAMPLES, SOURCES, applied, demucs, hdemucs, keep, music, snr_db, streamed
from tiny_demucs import htdemucs as four_layers

from singscript_models.scheduler import Network, Scheduler
from singscript_separator.engines import backends, openvino_network
from singscript_separator.engines.backends import Backend
from singscript_separator.engines.bag import bag_of
from singscript_separator.engines.heads import keep_sources
from singscript_separator.engines.openvino_network import OpenVinoNetwork
from singscript_separator.engines.overlap_add import Planes
from singscript_separator.engines.separation import separate
from singscript_separator.engines.torch_network import TorchNetwork
from singscript_separator.engines.traced import Core, RowConvolutions

htdemucs = partial(four_layers, depth=2, nfft=256)  # which is converted in less time


def tones(samples: int) -> Planes:
    return np.ascontiguousarray(music(samples).T)


def noise(samples: int) -> Planes:
    return np.random.default_rng(7).standard_normal((2, samples), np.float32)


def pruned(*sources: str) -> HTDemucs:
    model = htdemucs()
    keep_sources(model, sources)
    return model


def by_torch(model: Model, mix: Planes) -> Planes:
    return TorchNetwork(model, torch.device("cpu")).estimate([mix])[0]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the converted tiny network."""
    path = tmp_path_factory.mktemp("kept") / "folder" / "tiny.xml"
    OpenVinoNetwork(htdemucs(), path)
    return path


@pytest.fixture(scope="module")
def network(kept: Path) -> OpenVinoNetwork:
    """The converted tiny network."""
    return OpenVinoNetwork(htdemucs(), kept)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    keep(htdemucs(), path)
    return path


@pytest.fixture
def quick(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To convert it takes seconds; here that was done before, with the same result."""

    def converted(_model: Model, _samples: int, path: Path | None) -> openvino.Model:
        network = openvino.Core().read_model(kept)
        if path:
            openvino_network._keep(network, path)
        return network

    monkeypatch.setattr(openvino_network, "_converted", converted)


@pytest.fixture
def not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(openvino_network, "_converted", refuse)


class TestRows:
    @pytest.mark.parametrize(("channels", "compress", "depth"), [(8, 4, 2), (12, 8, 1), (48, 8, 3)])
    def test_they_give_what_the_branch_gives(self, channels: int, compress: int, depth: int) -> None:
        torch.manual_seed(0)
        branch = DConv(channels, compress=compress, depth=depth, init=0.3).eval()
        with torch.no_grad():
            for parameter in branch.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
            rows = torch.randn(5, channels, 33) * torch.arange(1, 6)[:, None, None] ** 2  # each at its own level
            expected, found = branch(rows), RowConvolutions(branch)(rows)
        assert snr_db(expected.numpy(), found.numpy()) > 110.0

    def test_a_network_with_them_gives_the_same(self) -> None:
        sound = torch.from_numpy(tones(SEGMENT_SAMPLES))[None]
        model = htdemucs()
        with torch.no_grad():
            spectrum = model._magnitude(model._spec(sound))
            core = Core(htdemucs()).eval()
            masked, direct = core(sound, spectrum)
            waves = model._ispec(model._mask(model._spec(sound), masked), SEGMENT_SAMPLES)
        assert sum(isinstance(module, RowConvolutions) for module in core.modules()) == 4
        assert snr_db(by_torch(model, tones(SEGMENT_SAMPLES)), (waves + direct)[0].numpy()) > 110.0

    @pytest.mark.parametrize("branch", [DConv(8, norm=False), DConv(8, gelu=False), DConv(8, attn=True, heads=2)])
    def test_branches_of_another_kind_stay(self, branch: DConv) -> None:
        model = htdemucs()
        model.encoder[0].dconv = branch
        core = Core(model)
        assert core.model.encoder[0].dconv is branch
        assert isinstance(core.model.encoder[1].dconv, RowConvolutions)


class TestNetwork:
    @pytest.mark.parametrize("mix", [tones, noise])
    def test_it_gives_what_torch_gives(self, network: OpenVinoNetwork, mix: Callable[[int], Planes]) -> None:
        [found] = network.estimate([mix(SEGMENT_SAMPLES)])
        assert snr_db(by_torch(htdemucs(), mix(SEGMENT_SAMPLES)), found) > 90.0

    def test_with_the_wanted_sources_alone(self, tmp_path: Path) -> None:
        mix = tones(SEGMENT_SAMPLES)
        sources = ["bass", "vocals"]
        network = OpenVinoNetwork(pruned(*sources), tmp_path / "kept.xml")
        expected = by_torch(htdemucs(), mix)[[SOURCES.index(source) for source in sources]]
        assert snr_db(expected, network.estimate([mix])[0]) > 90.0

    @pytest.mark.usefixtures("quick")
    def test_a_whole_stream(self, tmp_path: Path) -> None:
        sound = music(3 * SEGMENT_SAMPLES + 5)
        keep(htdemucs(), tmp_path / "tiny.safetensors")
        bag = bag_of([htdemucs()], [[1.0] * 4], [tmp_path / "tiny.safetensors"], SOURCES, "openvino", tmp_path / "kept")
        assert bag.device == "cpu (openvino)"
        found = streamed(partial(separate, bag=bag, scheduler=Scheduler(), overlap=0.25, stems=SOURCES), sound)
        expected = applied(htdemucs(), sound, heard=sound[:SEGMENT_SAMPLES])
        assert all(snr_db(expected[name], found[name]) > 90.0 for name in SOURCES)

    def test_many_at_once_are_the_same_as_one_after_the_other(self, network: OpenVinoNetwork) -> None:
        mixes = [np.ascontiguousarray(music(SEGMENT_SAMPLES, seed=seed).T) for seed in range(12)]
        alone = network.estimate(mixes)
        with ThreadPoolExecutor(2 * network.parallel) as threads:
            together = list(threads.map(lambda mix: network.estimate([mix])[0], mixes))
        np.testing.assert_array_equal(np.stack(alone), np.stack(together))

    def test_results_stay_when_more_are_computed(self, network: OpenVinoNetwork) -> None:
        first = network.estimate([tones(SEGMENT_SAMPLES)])[0]
        copy = first.copy()
        network.estimate([noise(SEGMENT_SAMPLES)] * (network.parallel + 1))
        np.testing.assert_array_equal(first, copy)


class TestKept:
    @pytest.mark.usefixtures("not_converted")
    def test_it_is_converted_once(self, kept: Path) -> None:
        mix = tones(SEGMENT_SAMPLES)
        [found] = OpenVinoNetwork(htdemucs(), kept).estimate([mix])
        assert snr_db(by_torch(htdemucs(), mix), found) > 90.0
        assert sorted(file.name for file in kept.parent.iterdir()) == ["tiny.bin", "tiny.xml"]

    @pytest.mark.usefixtures("quick")
    @pytest.mark.parametrize("suffix", [".bin", ".xml"])
    def test_a_damaged_file_is_made_again(self, kept: Path, tmp_path: Path, suffix: str) -> None:
        for file in kept.parent.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        damaged = (tmp_path / kept.name).with_suffix(suffix)
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
        mix = tones(SEGMENT_SAMPLES)
        [found] = OpenVinoNetwork(htdemucs(), tmp_path / kept.name).estimate([mix])
        assert snr_db(by_torch(htdemucs(), mix), found) > 90.0
        assert damaged.stat().st_size == kept.with_suffix(suffix).stat().st_size

    @pytest.mark.usefixtures("quick")
    def test_where_nothing_can_be_kept_it_works_as_well(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        (tmp_path / "file").touch()
        [found] = OpenVinoNetwork(htdemucs(), tmp_path / "file" / "tiny.xml").estimate([tones(SEGMENT_SAMPLES)])
        assert found.shape == (4, 2, SEGMENT_SAMPLES)
        assert "cannot be kept" in caplog.text

    def test_it_has_another_name_whenever_it_would_be_another(
        self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def name(path: Path, model: Model) -> str:
            assert isinstance(model, HTDemucs)
            return openvino_network.file_name(path, model)

        own = name(checkpoint, htdemucs())
        assert own == name(checkpoint, htdemucs())
        assert own.startswith("tiny-") and own.endswith(".xml")
        (tmp_path / "other").mkdir()
        keep(htdemucs(seed=1), tmp_path / "other" / "tiny.safetensors")
        shorter = htdemucs()
        shorter.segment = Fraction(1, 5)  # as a bag may want it
        others = [
            name(tmp_path / "other" / "tiny.safetensors", htdemucs()),
            name(checkpoint, pruned("vocals")),
            name(checkpoint, pruned("bass")),
            name(checkpoint, shorter),
        ]
        monkeypatch.setattr(openvino, "__version__", "another")
        others.append(name(checkpoint, htdemucs()))
        assert len({own, *others}) == 6


@pytest.mark.usefixtures("quick")
class TestChoice:
    """The choice hangs on two measured times, which stand here as numbers: on another machine they are others."""

    @pytest.fixture
    def measured(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
        seconds = {"OpenVinoNetwork": 0.5, "TorchNetwork": 1.0, "times": 0}

        def segment_s(computed: Network, *_: object, **__: object) -> float:
            seconds["times"] += 1
            return seconds[type(computed).__name__]

        monkeypatch.setattr(backends, "_segment_s", segment_s)
        monkeypatch.setattr(OpenVinoNetwork, "__init__", lambda *_: None)  # nothing is computed
        return seconds

    @pytest.fixture
    def chosen(self, checkpoint: Path, tmp_path: Path) -> Callable[..., Network]:
        (tmp_path / "kept").mkdir()

        def choose(model: Model | None = None, backend: Backend = "auto") -> Network:
            return backends.network(model or htdemucs(), checkpoint, backend, tmp_path / "kept")

        return choose

    @pytest.mark.parametrize(("openvino_s", "winner"), [(0.5, OpenVinoNetwork), (2.0, TorchNetwork)])
    def test_the_faster_one_computes_and_is_remembered(
        self,
        chosen: Callable[..., Network],
        measured: dict[str, float],
        openvino_s: float,
        winner: type[Network],
        tmp_path: Path,
    ) -> None:
        measured["OpenVinoNetwork"] = openvino_s
        assert type(chosen()) is winner
        assert measured["times"] == 2  # one of each
        measured["OpenVinoNetwork"] = 1.5 - openvino_s
        assert type(chosen()) is winner
        assert measured["times"] == 2
        notes = json.loads((tmp_path / "kept" / "measured.json").read_text())
        assert list(notes.values()) == [{"openvino_s": openvino_s, "torch_s": 1.0}]

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}'])
    def test_damaged_notes_are_made_again(
        self, chosen: Callable[..., Network], measured: dict[str, float], content: str, tmp_path: Path
    ) -> None:
        (tmp_path / "kept" / "measured.json").write_text(content)
        assert type(chosen()) is OpenVinoNetwork
        assert type(chosen()) is OpenVinoNetwork
        assert measured["times"] == 2

    def test_what_is_measured_really_computes(self, chosen: Callable[..., Network], tmp_path: Path) -> None:
        network = chosen()
        [found] = network.estimate([tones(SEGMENT_SAMPLES)])
        assert snr_db(by_torch(htdemucs(), tones(SEGMENT_SAMPLES)), found) > 90.0
        [times] = json.loads((tmp_path / "kept" / "measured.json").read_text()).values()
        assert min(times.values()) > 0
        assert type(network) is (OpenVinoNetwork if times["openvino_s"] < times["torch_s"] else TorchNetwork)

    def test_where_openvino_fails_torch_computes(
        self, chosen: Callable[..., Network], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("no such instruction")

        monkeypatch.setattr(OpenVinoNetwork, "estimate", fail)
        assert type(chosen()) is TorchNetwork
        assert not (tmp_path / "kept" / "measured.json").exists()

    @pytest.mark.parametrize("build", [hdemucs, demucs, partial(htdemucs, use_train_segment=False)])
    @pytest.mark.parametrize("backend", ["auto", "openvino", "torch"])
    @pytest.mark.usefixtures("not_converted", "measured")
    def test_only_torch_knows_other_networks(
        self, chosen: Callable[..., Network], build: Callable[[], Model], backend: Backend
    ) -> None:
        assert type(chosen(build(), backend)) is TorchNetwork

    def test_a_setting_goes_before_all_measurement(
        self, chosen: Callable[..., Network], measured: dict[str, float]
    ) -> None:
        assert type(chosen(backend="torch")) is TorchNetwork
        measured["OpenVinoNetwork"] = 9.0
        assert type(chosen(backend="openvino")) is OpenVinoNetwork
        assert measured["times"] == 0

    @pytest.mark.usefixtures("not_converted")
    def test_a_gpu_goes_before_the_processor(
        self, chosen: Callable[..., Network], measured: dict[str, float], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No GPU is here: torch's device without memory stands for it."""
        monkeypatch.setattr(backends, "best_device", lambda: torch.device("meta"))
        network = chosen()
        assert isinstance(network, TorchNetwork)
        assert (network.device, network.batch) == ("meta", 8)
        assert measured["times"] == 0
