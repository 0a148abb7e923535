"""Selection of the weights in a training script's file, and the notes on it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.sources import SourceError
from models.sources.checkpoints.contents import take_weights

RAW = {"a.weight": torch.zeros(2)}
AVERAGE = {"a.weight": torch.ones(2)}
FILE = Path("file.pth")


def selected(content: Any, key: str | None = None) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401 -- content of a file
    contents = take_weights(content, FILE, key)
    assert contents.state.keys() == RAW.keys()
    return ("average" if contents.state["a.weight"][0] else "raw"), contents.notes


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict", "net", "network", "module", "generator"])
def test_a_container_of_any_name_is_opened(name: str) -> None:
    assert selected({name: RAW, "epoch": 3}) == ("raw", ())
    assert selected({"state_dict": {name: RAW}, "best": torch.tensor(0.5)}) == ("raw", ())


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_preferred_to_raw_ones_with_a_note(name: str) -> None:
    chosen, notes = selected({"state_dict": RAW, name: AVERAGE})
    assert (chosen, notes) == (
        "average",
        (f"took {name}, averaged over training steps, not state_dict (--weights-key chooses)",),
    )
    assert selected({name: {"module": AVERAGE}, "model": RAW})[0] == "average"
    assert selected({"state_dict": RAW, name: AVERAGE}, key="state_dict")[0] == "raw"


def test_a_key_names_a_container_inside_another_or_a_prefix() -> None:
    content = {"state_dict": {"teacher": AVERAGE, "student": RAW}}
    assert selected(content, "state_dict.student") == ("raw", ("took state_dict.student (--weights-key)",))
    assert (
        selected({"state_dict": {"ema.a.weight": AVERAGE["a.weight"], "net.b": torch.ones(1)}}, "ema")[0] == "average"
    )
    assert selected({"ema.a.weight": AVERAGE["a.weight"]}, "ema")[0] == "average"
    with pytest.raises(SourceError, match=r"no weights named foo \(--weights-key\); it has state_dict\.teacher"):
        selected(content, "foo")


def test_several_sets_of_weights_of_equal_rank_need_a_key() -> None:
    with pytest.raises(
        SourceError, match="contains 2 sets of weights: teacher, student; choose one with --weights-key"
    ):
        selected({"teacher": AVERAGE, "student": RAW})
    assert selected({"teacher": AVERAGE, "student": RAW}, "student")[0] == "raw"


def test_an_optimisers_state_is_not_taken_for_weights() -> None:
    moments = {"exp_avg.weight": torch.zeros(2)}
    assert selected({"optimizer": moments, "callbacks": {"EMA": moments}, "weights": RAW}) == ("raw", ())


def test_a_file_without_weights_is_refused_with_its_content() -> None:
    with pytest.raises(SourceError, match="no state_dict, but a dict of epoch, loss"):
        selected({"epoch": 3, "loss": [0.5]})
    with pytest.raises(SourceError, match="no state_dict, but a list"):
        selected([torch.zeros(2)])
