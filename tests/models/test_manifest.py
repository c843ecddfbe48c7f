"""Manifests: what is read, and the sentence for every way to write one wrongly."""

from __future__ import annotations

import pytest

from models.errors import ManifestError
from models.manifest import files_of, read_manifest
from models.states import State

SMALLEST = """
name = "tiny"
version = "1"
description = "d"
license = "MIT"
commercial_use = true
[weights]
file = "tiny.onnx"
[input]
width = 320
height = 200
"""


def written(tmp_path, text):
    path = tmp_path / "tiny.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path, text):
    with pytest.raises(ManifestError) as raised:
        read_manifest(written(tmp_path, text))
    path = str(tmp_path / "tiny.toml")
    assert all(problem.startswith(f"{path}: ") for problem in raised.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in raised.value.problems]


def test_the_smallest_manifest_gets_the_documented_defaults(tmp_path):
    manifest = read_manifest(written(tmp_path, SMALLEST))
    assert manifest.max_batch == 1
    assert manifest.good_at == ()
    assert manifest.states == ()
    assert manifest.constants == {}
    assert not manifest.is_recurrent
    assert manifest.weights.file == tmp_path / "tiny.onnx"
    assert (manifest.weights.url, manifest.weights.sha256) == (None, None)
    assert (manifest.input.layout, manifest.input.channels, manifest.input.fit) == (
        "NCHW",
        "RGB",
        "stretch",
    )
    assert (manifest.input.mean, manifest.input.std) == ((0, 0, 0), (1, 1, 1))
    assert (manifest.output.layout, manifest.output.channel) == ("NCHW", None)
    assert manifest.output.activation == "none"


def test_a_full_manifest_is_read_as_written(tmp_path):
    manifest = read_manifest(
        written(
            tmp_path,
            f"""
name = "rvm-1.0_b"
version = "1.0"
description = "d"
license = "GPL-3.0-only"
commercial_use = false
source = "https://a.example"
homepage = "https://b.example"
good_at = ["people", "video"]
max_batch = 8
[weights]
url = "https://a.example/w.onnx"
sha256 = "{"ab" * 32}"
size_bytes = 12
[input]
tensor = "src"
width = 512
height = 288
layout = "NHWC"
channels = "BGR"
mean = [0, 0.5, 1]
std = [1, 0.5, 0.25]
fit = "letterbox"
[output]
tensor = "pha"
layout = "NCHW"
channel = 1
activation = "softmax"
[[states]]
input = "r1i"
output = "r1o"
shape = [1, 16, 1, 1]
[constants]
ratio = [0.25]
""",
        )
    )
    assert manifest.weights.file is None
    assert manifest.weights.sha256 == "ab" * 32
    assert manifest.weights.size_bytes == 12
    assert manifest.input.mean == (0.0, 0.5, 1.0)
    assert manifest.input.channels == "BGR"
    assert manifest.fit == "letterbox"
    assert manifest.output.channel == 1
    assert manifest.states == (State("r1i", "r1o", (1, 16, 1, 1)),)
    assert manifest.constants == {"ratio": (0.25,)}
    assert manifest.is_recurrent
    assert manifest.good_at == ("people", "video")
    assert manifest.max_batch == 8


def test_the_output_has_the_inputs_layout_unless_it_says_otherwise(tmp_path):
    manifest = read_manifest(written(tmp_path, SMALLEST + 'layout = "NHWC"'))
    assert manifest.output.layout == "NHWC"


WRONG = [
    ("", 'name = "Tiny"', "'name' is 'Tiny'; allowed is lower-case letters, digits"),
    ('name = "tiny"', "", "'name' is missing"),
    ('version = "1"', "version = 1", "'version' is 1; allowed is text that is not empty"),
    ('license = "MIT"', 'license = " "', "'license' is ' '; allowed is text that is not empty"),
    (
        "commercial_use = true",
        'commercial_use = "yes"',
        "'commercial_use' is 'yes'; allowed are true and false",
    ),
    (
        "commercial_use = true",
        "commercial_use = 1",
        "'commercial_use' is 1; allowed are true and false",
    ),
    (
        "[weights]",
        "max_batch = 0\n[weights]",
        "'max_batch' is 0; allowed are whole numbers from 1 to 256",
    ),
    (
        "[weights]",
        "max_batch = true\n[weights]",
        "'max_batch' is True; allowed are whole numbers from 1 to 256",
    ),
    (
        "[weights]",
        'good_at = "hair"\n[weights]',
        "'good_at' is 'hair'; allowed is a list of words",
    ),
    (
        'file = "tiny.onnx"',
        "",
        "'weights.file' is missing, and so is 'url': give one, or both",
    ),
    (
        'file = "tiny.onnx"',
        'url = "ftp://a/b"',
        "'weights.url' is 'ftp://a/b'; allowed are addresses that begin with 'https'",
    ),
    (
        'file = "tiny.onnx"',
        'file = "t"\nsha256 = "ABC"',
        "'weights.sha256' is 'ABC'; allowed is 64 lower-case hex digits",
    ),
    (
        "width = 320",
        "width = 8",
        "'input.width' is 8; allowed are whole numbers from 16 to 4096",
    ),
    (
        "width = 320",
        "width = 320.0",
        "'input.width' is 320.0; allowed are whole numbers from 16 to 4096",
    ),
    ("height = 200", "", "'input.height' is missing"),
    (
        "height = 200",
        'height = 200\nlayout = "CHW"',
        "'input.layout' is 'CHW'; allowed are 'NCHW', 'NHWC'",
    ),
    (
        "height = 200",
        "height = 200\nmean = [0.5, 0.5]",
        "'input.mean' is [0.5, 0.5]; allowed are three numbers for R, G and B",
    ),
    (
        "height = 200",
        "height = 200\nmean = [nan, 0, 0]",
        "'input.mean' is [nan, 0, 0]; allowed are three numbers",
    ),
    (
        "height = 200",
        "height = 200\nstd = [1, 0, 1]",
        "'input.std' is [1.0, 0.0, 1.0]; allowed are numbers other than 0",
    ),
    (
        "height = 200",
        'height = 200\nfit = "crop"',
        "'input.fit' is 'crop'; allowed are 'stretch', 'letterbox'",
    ),
    (
        "height = 200",
        'height = 200\n[output]\nactivation = "relu"',
        "'output.activation' is 'relu'; allowed are 'none', 'sigmoid', 'softmax', 'minmax'",
    ),
    (
        "height = 200",
        'height = 200\n[output]\nactivation = "softmax"',
        "'output.channel' is missing: softmax runs over channels",
    ),
    (
        "height = 200",
        'height = 200\n[output]\nlayout = "NHW"\nchannel = 0',
        "'output.channel' is 0, but layout 'NHW' has no channels",
    ),
    (
        "height = 200",
        "height = 200\n[states]\nr1i = 3",
        "'states' is {'r1i': 3}; allowed is a list of tables: write [[states]] above",
    ),
    (
        "height = 200",
        'height = 200\n[[states]]\ninput = "a"\noutput = "b"\nshape = [1, 0]',
        "'states[0].shape' is [1, 0]; allowed are 1 to 6 whole numbers from 1 to 4096",
    ),
    (
        "height = 200",
        "height = 200\n[constants]\nratio = 3",
        "'constants.ratio' is 3; allowed is a list of numbers: [0.25]",
    ),
    (
        "[weights]",
        "output = 3\n[weights]",
        "'output' is 3; allowed is a table: write [output] above its keys",
    ),
    ("width = 320", "width = 320\nwitdh = 3", "'input.witdh' is not a key of a manifest: did you"),
    ("height = 200", "height = 200\n[outputs]", "'outputs' is not a key of a manifest: did you"),
    ('version = "1"', 'version = "1"\nzzz = 1', "'zzz' is not a key of a manifest: allowed are"),
]


@pytest.mark.parametrize(("right", "wrong", "sentence"), WRONG, ids=[case[2] for case in WRONG])
def test_each_mistake_gets_one_sentence_with_key_value_and_what_is_allowed(
    tmp_path, right, wrong, sentence
):
    text = SMALLEST.replace(right, wrong, 1) if right else SMALLEST.replace('name = "tiny"', wrong)
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(sentence)


def test_a_model_without_a_network_has_no_weights_and_no_plane(tmp_path):
    text = SMALLEST.partition("[weights]")[0] + 'method = "chroma-key"\n'
    manifest = read_manifest(written(tmp_path, text))
    assert not manifest.has_network
    assert files_of(manifest) == ()
    sentence = "'weights' is not a key"
    assert any(sentence in each for each in problems(tmp_path, text + '[weights]\nfile = "a"\n'))


def test_all_mistakes_of_a_file_come_out_at_once(tmp_path):
    assert len(problems(tmp_path, 'name = "X"\nversion = 2\n[input]\nwidth = 1\n')) == 8


def test_a_missing_table_is_one_sentence_not_one_for_each_of_its_keys(tmp_path):
    text = SMALLEST[: SMALLEST.index("[input]")]
    assert problems(tmp_path, text) == ["'input' is missing"]


def test_a_file_that_is_not_toml_says_where(tmp_path):
    assert problems(tmp_path, "name = = 3")[0].startswith("is not TOML: ")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(ManifestError, match="is not UTF-8 text"):
        read_manifest(path)


def test_a_file_that_is_far_too_large_is_not_read(tmp_path):
    assert problems(tmp_path, "#" * 100_000) == [
        "is larger than 64 KiB: a manifest is a page of TOML"
    ]


def test_a_file_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ManifestError, match="cannot be read: No such file or directory"):
        read_manifest(tmp_path / "none.toml")
