"""Which device is taken, and why."""

import logging

import pytest
import torch

from emo_affectnet.engines import devices
from emo_affectnet.engines.devices import Device, choose_cpu, choose_device
from emo_affectnet.errors import UsageError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend to be a machine with so many CUDA cards, or Apple's."""

    def pretend(*, cuda: int = 0, mps: bool = False, has_driver: bool = True) -> None:
        monkeypatch.setattr(devices, "has_driver", lambda: has_driver)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A Card")
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


def test_named_device_is_taken_as_it_is() -> None:
    assert choose_device("cpu").name == "cpu"
    assert choose_device("cpu:0").name == "cpu:0"
    assert choose_device("cpu").why == "as asked"


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "cpu:x", "cuda:-1", "cuda:"])
def test_device_that_is_not_there_lists_those_that_are(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert str(caught.value).startswith(f"The device {name!r} is not available here; choose auto or one of: ")
    assert " cpu," in str(caught.value)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected", "why"),
    [(2, False, "cuda", "A Card"), (1, True, "cuda", "A Card"), (0, True, "mps", "Apple GPU")],
)
def test_automatic_device_is_the_fastest_and_named(machine, cuda: int, mps: bool, expected: str, why: str) -> None:
    machine(cuda=cuda, mps=mps)
    chosen = choose_device("auto")
    assert (chosen.name, chosen.why) == (expected, why)


def test_cpu_is_no_surprise_where_there_is_no_card(machine, caplog: pytest.LogCaptureFixture) -> None:
    machine(has_driver=False)
    chosen = choose_device("auto")
    assert (chosen.name, chosen.why) == ("cpu", "there is no graphics card")
    assert not caplog.records


def test_falling_back_from_a_card_is_never_silent(machine, caplog: pytest.LogCaptureFixture) -> None:
    machine(has_driver=True)
    with caplog.at_level(logging.WARNING):
        chosen = choose_device("auto")
    assert (chosen.name, chosen.why) == ("cpu", "PyTorch cannot use the graphics card")
    assert "cannot use it, so the CPU is used. Install the build of PyTorch for the card" in caplog.text


def test_second_card_can_be_named_and_third_cannot(machine) -> None:
    machine(cuda=2)
    assert choose_device("cuda:1").name == "cuda:1"
    with pytest.raises(UsageError, match=r"'cuda:2'.*one of: cuda, cpu, cuda:0, cuda:1, cpu:0\."):
        choose_device("cuda:2")


@pytest.mark.parametrize(("device", "why"), [("auto", "the only device of this engine"), ("cpu", "as asked")])
def test_an_engine_of_the_processor_leaves_a_card_alone_and_says_why(
    machine, caplog: pytest.LogCaptureFixture, device: str, why: str
) -> None:
    machine(cuda=1)
    assert choose_cpu("onnxruntime", device) == Device("cpu", why)
    machine(cuda=0)  # with a driver, and a PyTorch that cannot use it: whoever looked for a card has said so
    assert choose_cpu("onnxruntime", device) == Device("cpu", why)
    assert caplog.text == ""


def test_an_engine_of_the_processor_says_where_there_is_no_card(machine) -> None:
    machine(has_driver=False)
    assert choose_cpu("onnxruntime", "auto").why == "there is no graphics card"


def test_a_device_is_told_with_its_threads() -> None:
    assert Device("cuda", "A Card").describe() == "on cuda (A Card)"
    assert Device("cpu", "as asked").describe(1) == "on cpu (as asked), 1 thread"
    assert Device("cpu", "as asked").describe(2) == "on cpu (as asked), 2 threads"
