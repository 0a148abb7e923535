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


def taken(content: Any, key: str | None = None) -> tuple[str, tuple[str, ...]]:  # noqa: ANN401 -- what a file holds
    contents = take_weights(content, FILE, key)
    assert contents.state.keys() == RAW.keys()
    return ("average" if contents.state["a.weight"][0] else "raw"), contents.notes


@pytest.mark.parametrize("name", ["state_dict", "model", "model_state_dict", "net", "network", "module", "generator"])
def test_a_container_is_opened_whatever_its_name(name: str) -> None:
    assert taken({name: RAW, "epoch": 3}) == ("raw", ())
    assert taken({"state_dict": {name: RAW}, "best": torch.tensor(0.5)}) == ("raw", ())


@pytest.mark.parametrize("name", ["state_dict_ema", "model_ema", "ema"])
def test_an_average_comes_before_raw_weights_and_that_is_said(name: str) -> None:
    chosen, notes = taken({"state_dict": RAW, name: AVERAGE})
    assert (chosen, notes) == (
        "average",
        (f"took {name}, averaged over training steps, not state_dict (--weights-key chooses)",),
    )
    assert taken({name: {"module": AVERAGE}, "model": RAW})[0] == "average"
    assert taken({"state_dict": RAW, name: AVERAGE}, key="state_dict")[0] == "raw"


def test_a_key_names_a_container_inside_another_or_a_prefix() -> None:
    content = {"state_dict": {"teacher": AVERAGE, "student": RAW}}
    assert taken(content, "state_dict.student") == ("raw", ("took state_dict.student (--weights-key)",))
    assert taken({"state_dict": {"ema.a.weight": AVERAGE["a.weight"], "net.b": torch.ones(1)}}, "ema")[0] == "average"
    assert taken({"ema.a.weight": AVERAGE["a.weight"]}, "ema")[0] == "average"
    with pytest.raises(SourceError, match=r"no weights named foo \(--weights-key\); it has state_dict\.teacher"):
        taken(content, "foo")


def test_several_sets_of_weights_that_names_do_not_rank_need_a_key() -> None:
    with pytest.raises(
        SourceError, match="contains 2 sets of weights: teacher, student; choose one with --weights-key"
    ):
        taken({"teacher": AVERAGE, "student": RAW})
    assert taken({"teacher": AVERAGE, "student": RAW}, "student")[0] == "raw"


def test_an_optimisers_state_is_no_network() -> None:
    moments = {"exp_avg.weight": torch.zeros(2)}
    assert taken({"optimizer": moments, "callbacks": {"EMA": moments}, "weights": RAW}) == ("raw", ())


def test_a_file_without_weights_says_what_it_holds() -> None:
    with pytest.raises(SourceError, match="no state_dict, but a dict of epoch, loss"):
        taken({"epoch": 3, "loss": [0.5]})
    with pytest.raises(SourceError, match="no state_dict, but a list"):
        taken([torch.zeros(2)])
