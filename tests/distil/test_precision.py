import pytest
import torch

from mmpkd.distil.precision import Precision, choose_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def units(monkeypatch):
    def give(amx, avx512):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)

    return give


@pytest.mark.parametrize(("amx", "avx512"), [(True, True), (False, True), (True, False)])
def test_a_cpu_with_bfloat16_units_takes_them_with_explicit_attention(units, amx, avx512):
    units(amx, avx512)
    assert choose_precision("auto", CPU) == Precision("bf16", explicit_attention=True)


def test_a_cpu_without_them_stays_in_single_precision_with_fused_attention(units):
    units(amx=False, avx512=False)
    assert choose_precision("auto", CPU) == Precision("fp32", explicit_attention=False)


def test_a_torch_without_the_probes_stays_in_single_precision(monkeypatch):
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, probe, raising=False)
    assert choose_precision("auto", CPU).name == "fp32"


@pytest.mark.parametrize(("supported", "name"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_keeps_fused_attention(monkeypatch, supported, name):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert choose_precision("auto", CUDA) == Precision(name, explicit_attention=False)


def test_what_is_asked_for_is_obeyed(units):
    units(amx=True, avx512=True)
    assert choose_precision("fp32", CPU).name == "fp32"
    units(amx=False, avx512=False)
    assert choose_precision("bf16", CPU).name == "bf16"


def test_autocast_multiplies_in_the_chosen_precision():
    square = torch.ones(2, 2)
    with Precision("bf16", explicit_attention=True).autocast(CPU):
        assert (square @ square).dtype == torch.bfloat16
    with Precision("fp32", explicit_attention=False).autocast(CPU):
        assert (square @ square).dtype == torch.float32
