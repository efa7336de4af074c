from __future__ import annotations

import pytest
import torch
from hosts import HOSTS, decoder, llava_onevision
from reference import lmm as adapters
from reference.lmm import ADAPTERS, LMMOutput, adapt
from tiny_host import DIM, VIEWS
from torch import nn

GENERIC = ("decoder", "multimodal_decoder")
SIZED = ("qwen2_5_vl", "qwen3_vl", "qwen3_5", "video_llama_3")


@pytest.mark.parametrize("name", [name for name in HOSTS if name not in GENERIC])
def test_adapt_picks_the_adapter_of_a_host(name: str) -> None:
    made = HOSTS[name]().lmm
    size = {"image_size": 32} if name in SIZED else {}
    found = adapt(made.host, **size)
    assert type(found) is type(made)
    assert found.host is made.host
    assert found.grid == made.grid


def test_every_adapter_is_in_the_table_of_hosts_and_importable_from_one_place() -> None:
    kinds = {HOSTS[name]().lmm.host.config.model_type for name in HOSTS if name not in GENERIC}
    assert set(ADAPTERS) == kinds
    assert {adapter.__name__ for adapter in ADAPTERS.values()} <= set(adapters.__all__)
    assert all(hasattr(adapters, name) for name in adapters.__all__)


def test_adapt_hands_options_on() -> None:
    host = llava_onevision().lmm.host
    assert adapt(host, newline="row").newline == "row"
    assert adapt(host, visual_attention="bidirectional").visual_attention == "bidirectional"


def test_hosts_without_an_adapter_are_refused() -> None:
    known = "host must be a generating model of type internvl, .*, video_llama_3; got "
    with pytest.raises(ValueError, match=known + "Qwen2ForCausalLM of type 'qwen2'"):
        adapt(decoder().lmm.host)
    with pytest.raises(ValueError, match=known + "LlavaOnevisionModel of type 'llava_onevision'"):
        adapt(llava_onevision().lmm.host.model)
    with pytest.raises(ValueError, match=known + "Linear of type None"):
        adapt(nn.Linear(1, 1))


def test_without_labels_there_is_no_loss() -> None:
    host = llava_onevision()
    output, _ = host.lmm.decode(host.lmm.encode(host.images()), host.ids())
    assert isinstance(output, LMMOutput)
    assert output.loss is None


def test_inputs_that_do_not_fit_are_refused() -> None:
    host = llava_onevision()
    visual, ids = host.lmm.encode(host.images()), host.ids()
    count = len(host.lmm.scene_ids(VIEWS))
    with pytest.raises(ValueError, match=rf"rows with {count} visual placeholders; got \["):
        host.lmm.decode(visual, ids[:, 4:])
    with pytest.raises(ValueError, match="input_ids must be of shape"):
        host.lmm.decode(visual, ids[:1])
    with pytest.raises(ValueError, match="added must be of shape"):
        host.lmm.decode(visual, ids, added=torch.zeros(2, 3, DIM))
