"""Bodies of the routes for clients of other services, in the words of those services."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.schemas import CleanText, LongText


class IngestOut(BaseModel):
    message: str = Field(examples=["Item added.", "Item updated."])
    item_id: str = Field(
        description="Yours, else the photo's id; results of POST /search_text/ have it as `id`.", examples=["a-42"]
    )
    processing_time: float = Field(description="s", examples=[0.08])


class TextSearchIn(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"query_text": "a dog in the snow", "top_n": 5}]})

    query_text: CleanText
    top_n: int = Field(5, ge=1, le=10_000, description="Most results.")


class ItemMetadata(BaseModel):
    title: str | None
    tags: list[str]
    category: str | None
    original_filename: str
    faiss_id: int = Field(description="The photo's id here.", examples=[10])


class TextHit(BaseModel):
    id: str = Field(description="Your item_id, else the photo's id.", examples=["a-42"])
    score: float = Field(examples=[0.575])
    text: str | None = Field(description="Its caption.", examples=["A photo of a dog."])
    image_path: str | None = Field(
        description="GET /images/{path} takes it; null for an item without a picture.",
        examples=["8a/8aef03bedbf31524510015f8…"],
    )
    metadata: ItemMetadata


class TextSearchOut(BaseModel):
    results: list[TextHit]
    query_time: float = Field(description="s", examples=[0.02])


class QueryIn(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"query": "a dog in the snow"}]})

    query: CleanText
    top_k: int = Field(10, ge=1, le=10_000, description="Most results.")


Pair = Annotated[list[int | float], Field(min_length=2, max_length=2)]  # a tuple is more than OpenAPI's tools know


class ScoredIds(BaseModel):
    results: list[Pair] = Field(description="Photo id and score.", examples=[[[10, 0.575]]])


class TextsIn(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"texts": ["a dog", "two red buses"]}]})

    texts: Annotated[list[Annotated[LongText, Field(min_length=1)]], Field(min_length=1, max_length=256)]


class PictureEmbedding(BaseModel):
    embedding: list[float] = Field(description="Unit vector.")
    model: str = Field(description="Model and weights.", examples=["ViT-B-32/laion2b_s34b_b79k"])
    device: str = Field(examples=["cpu"])


class TextEmbeddings(BaseModel):
    embeddings: list[list[float]] = Field(description="A unit vector for each text, in order.")
    model: str = Field(description="Model and weights.", examples=["ViT-B-32/laion2b_s34b_b79k"])
    device: str = Field(examples=["cpu"])


class PictureEmbeddings(BaseModel):
    embeddings: list[list[float]] = Field(description="A unit vector for each picture, in order.")
    model: str = Field(description="Model and weights.", examples=["ViT-B-32/laion2b_s34b_b79k"])
    device: str = Field(examples=["cpu"])


class EncoderFacts(BaseModel):
    space: str = Field(description="Model and weights.", examples=["ViT-B-32/laion2b_s34b_b79k"])
    dim: int = Field(description="Numbers of a vector.", examples=[512])
    image_size: int = Field(description="px of the side to which pictures are scaled.", examples=[224])
    logit_scale: float = Field(description="The trained factor on cosines before a softmax.", examples=[100.0])
    device: str = Field(examples=["cpu"])
