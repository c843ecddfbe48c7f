"""The part of a manifest that makes a model promptable: the second graph and how it is asked.

Read by `models.manifest` from `[decoder]`; `[weights]` and `[input]` of such a manifest are the
encoder's, `[output]` is the decoder's. The schema; `?` marks what may be left out:

    [decoder]
    prompts = "maps"              # "maps": planes that show clicks, box and earlier alpha, as
                                  #   `models.prompt_maps` draws them (ours); "points": lists of
                                  #   places with labels, as the Segment Anything family takes them
    exclude = true                # ? whether it understands "not this"; default true
    padding_point = true          # ? "points" without a box: adds the point at (0, 0) labelled -1
                                  #   that the family's own exports want; default true

    [decoder.weights]             # as [weights]

    [decoder.features]            # ? decoder's input = encoder's output, where their names differ
    image_embed = "embeddings"

    [decoder.tensors]             # ? what is called otherwise in this graph; the defaults:
    prompts = "prompts"           #   "maps" only: (1, 4, h, w)
    points = "point_coords"       #   the others "points" only: (1, P, 2) or (1, 1, P, 2), in
    labels = "point_labels"       #   pixels of the encoder's plane; 1 wanted, 0 not wanted, 2 and 3
    mask = "mask_input"           #   a box's corners, -1 padding
    has_mask = "has_mask_input"   #   an earlier answer, (1, 1, h, w) logits, and 1 where there is
    size = "orig_im_size"         #   one; height and width of what the masks shall cover
    score = "iou_predictions"     #   output: the model's own estimate of each mask's IoU

Which of `mask`, `has_mask`, `size` and `score` a graph has is read from the graph. Every other
input of the decoder is one of the encoder's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from models.toml_reader import Table

if TYPE_CHECKING:
    from models.manifest import Weights

PromptForm = Literal["maps", "points"]
TENSORS: Mapping[PromptForm, Mapping[str, str]] = {
    "maps": {"prompts": "prompts"},
    "points": {
        "points": "point_coords",
        "labels": "point_labels",
        "mask": "mask_input",
        "has_mask": "has_mask_input",
        "size": "orig_im_size",
        "score": "iou_predictions",
    },
}


@dataclass(frozen=True, slots=True)
class Decoder:
    """The graph that answers prompts; every value has been checked."""

    weights: Weights
    prompts: PromptForm
    tensors: Mapping[str, str]  # every role of the form -> name in the graph
    features: Mapping[str, str]  # decoder's input -> encoder's output, where they differ
    exclude: bool = True
    padding_point: bool = True


def read_decoder(root: Table, read_weights: Callable[[Table], Weights]) -> Decoder | None:
    """The decoder that a manifest describes, None when its model takes no prompts.

    Args:
        root: the whole manifest being read; problems are noted there.
        read_weights: reads a table of weights.
    """
    if not root.has("decoder"):
        return None
    table = root.table("decoder")
    if not table.has("prompts"):
        table.problem("prompts", "is missing: allowed are 'maps' and 'points'")
    form: PromptForm = table.choice("prompts", get_args(PromptForm), default="maps")
    names = table.table("tensors").text_map()
    for role in names.keys() - TENSORS[form].keys():
        allowed = ", ".join(f"'{known}'" for known in TENSORS[form])
        table.problem(
            f"tensors.{role}", f"is no tensor of prompts = '{form}': allowed are {allowed}"
        )
    return Decoder(
        weights=read_weights(table.table("weights", required=True)),
        prompts=form,
        tensors={**TENSORS[form], **names},
        features=table.table("features").text_map(),
        exclude=table.optional_boolean("exclude", default=True),
        padding_point=table.optional_boolean("padding_point", default=True),
    )
