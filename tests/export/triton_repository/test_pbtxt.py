"""Protocol buffers' text format."""

import pytest

from export.triton_repository.pbtxt import Fields, Symbol, entries, to_text


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            {"a": "x", "b": 1, "c": 0.5, "d": True, "e": Symbol("KIND_CPU")},
            'a: "x"\nb: 1\nc: 0.5\nd: true\ne: KIND_CPU\n',
        ),
        ({"dims": [1, 2], "names": ["a", "b"], "none": []}, 'dims: [1, 2]\nnames: ["a", "b"]\nnone: []\n'),
        ({"a": {"b": {}}}, "a {\n  b {\n  }\n}\n"),
        ({"step": [{"a": 1}, {"a": 2}]}, "step {\n  a: 1\n}\nstep {\n  a: 2\n}\n"),
        ({"map": entries({"k": {"v": 1}})}, 'map {\n  key: "k"\n  value {\n    v: 1\n  }\n}\n'),
        ({"a": 'say "hi"\\\n\tö'}, 'a: "say \\"hi\\"\\\\\\n\\t\\303\\266"\n'),
    ],
)
def test_messages_are_written_in_text_format(message: Fields, text: str) -> None:
    assert to_text(message) == text
