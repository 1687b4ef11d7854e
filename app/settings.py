"""Every knob of the service: type, unit in the name, bounds, help. Environment prefix RECOLLECT_."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

RATE = r"^(none|\d+ ?/ ?(\d+ ?)?(second|minute|hour|day)s?)$"


class Settings(BaseSettings):
    """Read once, at start, from the environment (RECOLLECT_HOST, …) or the flags of `recollect serve`."""

    model_config = SettingsConfigDict(env_prefix="RECOLLECT_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    database_url: str = Field("sqlite:///recollect.db", description="SQLAlchemy URL of the database.")
    owner: str = Field(
        "default",
        min_length=1,
        max_length=100,
        description="Whose library the command line works on, and the page as long as there are no access keys.",
    )
    uploads_dir: Path = Field(Path("uploads"), description="Folder of the originals and their thumbnails.")
    storage_url: str | None = Field(
        None,
        pattern=r"^s3://[^/]+(/.*)?$",
        description="Where originals and thumbnails lie for several machines: `s3://bucket/prefix`; keys, region "
        "and endpoint as in `AWS_ACCESS_KEY_ID` and the like; needs the extra `s3`.",
    )
    storage_redirect_s: int = Field(
        0,
        ge=0,
        le=604800,
        description="For how long an address is good by which browsers fetch an original from the bucket "
        "themselves; 0: it comes through the service.",
    )
    busy_timeout_s: float = Field(30, gt=0, le=600, description="How long a write waits for SQLite's lock.")

    model: str = Field(
        "auto",
        description="`auto`, `embedded`, an open_clip name such as `ViT-B-32/laion2b_s34b_b79k`, "
        "or `ViT-B-32//path/to/checkpoint.safetensors`.",
    )
    model_sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Expected SHA-256 of the named model's weights file."
    )
    encoder_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s,]+(,https?://[^\s,]+)*$",
        description="Recollect servers that encode pictures and words for this one, which then loads no such "
        "model: `http://encoder:8000`, several separated by commas.",
    )
    encoder_key: SecretStr | None = Field(
        None, description="An access key of those servers, with the scope `read`."
    )
    encoder_wait_s: float = Field(120, ge=0, le=3600, description="How long a start waits for one of them.")
    whisper_model: str = Field(
        "tiny.en", description="Whisper size; `tiny.en` ships with the service, `none` switches voice off."
    )
    reranker: str = Field(
        "none",
        description="Looks at the first results of a search again, together with the words: `none`, `blip`, a "
        "folder or a repository of the hub with other weights of BLIP for image-text matching.",
    )
    reranker_sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="Expected SHA-256 of the reranker's `model.safetensors`."
    )
    rerank_top: int = Field(20, ge=1, le=1000, description="Results that are looked at again.")
    rerank_budget_ms: int = Field(
        2000, ge=0, description="Longest time for that; if it is not enough for all of them, the order stays."
    )
    admin_key: SecretStr | None = Field(
        None,
        min_length=16,
        description="An access key that may do everything, beside those of `recollect keys`.",
    )
    allow_anyone: bool = Field(
        False, description="Whether other machines are served while there is no access key at all."
    )
    allowed_hosts: list[str] = Field(
        [],
        description="JSON list of names, beside `localhost` and addresses, under which the service answers while "
        "there is no access key: no other web page can then speak in this machine's name.",
    )
    cors_origins: list[str] = Field(
        [], description="JSON list of origins whose web pages may use the API with a key of their own."
    )
    rate_limit: str = Field(
        "6000/minute",
        pattern=RATE,
        description="Most requests of one access key, or of one address without: `20/second`, `none`.",
    )
    wrong_key_limit: str = Field("20/minute", pattern=RATE, description="Most wrong access keys from one address.")
    rate_limit_url: str = Field(
        "memory://", description="Where requests are counted: `memory://`, or `redis://…` for several processes."
    )
    redis_url: str | None = Field(
        None,
        pattern=r"^rediss?://",
        description="Where several processes share the vectors of texts, `redis://…`; needs the extra `redis`.",
    )
    ocr: bool = Field(True, description="Whether text in pictures is read, in the background.")
    device: str = Field("auto", description="torch device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`.")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Number type of a model's products, on GPUs of an open_clip model's image tower alone: `auto` "
        "takes `bfloat16` on processors with units for it (AMX, AVX512-BF16), `float16` on CUDA, else `float32`.",
    )
    torch_threads: int = Field(0, ge=0, le=1024, description="Threads for inference altogether; 0: one per core.")
    index: Literal["flat", "flat8", "pgvector"] = Field(
        "flat",
        description="Vector index: `flat` is exact, in memory; `flat8` is, too, and keeps a copy in 8 bits beside "
        "it, for faster searches of large libraries with a quarter more memory; `pgvector` is in PostgreSQL.",
    )
    hnsw_ef_search: int = Field(
        200,
        ge=1,
        le=1000,
        description="Vectors that pgvector looks at closely in libraries of more than 20,000 photos.",
    )
    index_poll_s: float = Field(
        1.0, gt=0, le=3600, description="How often to look for photos that another process added."
    )

    keep_warm_s: float = Field(
        15, ge=0, le=3600, description="How often a search is rehearsed, so that the next is a warm one; 0: never."
    )

    resumable_ttl_s: float = Field(
        604800, gt=0, description="How long a resumable upload is kept; what is not complete by then is deleted."
    )
    max_upload_bytes: int = Field(50 * 2**20, ge=1, description="Largest accepted file.")
    max_bulk_bytes: int = Field(2**30, ge=1, description="Largest request with many files.")
    body_grace_s: float = Field(
        20, gt=0, le=3600, description="From when on the body of a request must come at 1 KB a second on average."
    )
    max_pixels: int = Field(50_000_000, ge=1, description="Largest accepted picture, width times height.")
    max_audio_s: float = Field(60, gt=0, le=600, description="Longest accepted voice query.")
    max_results: int = Field(1000, ge=1, le=10_000, description="Most results of one search.")
    max_query_chars: int = Field(1000, ge=1, le=100_000, description="Longest accepted text query.")

    import_workers: int = Field(16, ge=1, le=64, description="Items of imports in work at the same time.")
    decode_concurrency: int = Field(4, ge=1, le=256, description="Pictures decoded at the same time.")
    encode_batch_size: int = Field(
        16,
        ge=1,
        le=1024,
        description="Most inputs of one encoder call; on processors with AMX, CLIP is fastest at 32.",
    )
    text_cache_size: int = Field(2048, ge=0, description="Texts whose vectors are kept in memory; 2 KB each.")
    search_queue_size: int = Field(
        32, ge=0, description="Searches that may wait for their turn; 16 are answered at the same time."
    )
    encode_queue_size: int = Field(256, ge=1, description="Inputs that may wait for the encoder.")
    transcribe_queue_size: int = Field(16, ge=1, description="Voice queries that may wait for Whisper.")
    inference_timeout_s: float = Field(60, gt=0, description="Longest wait for one inference.")

    ranking_overfetch: int = Field(2, ge=1, le=100, description="Candidates ranked per result asked for.")
    ranking_up_vote: float = Field(1.15, ge=1, description="Score factor of a photo voted up for this query.")
    ranking_down_vote: float = Field(0.70, gt=0, le=1, description="Score factor of a photo voted down.")
    ranking_category_limit: int = Field(3, ge=1, description="Results of one category left at full score.")
    ranking_category_factor: float = Field(0.90, gt=0, le=1, description="Score factor of those after them.")
    ranking_recency_weight: float = Field(
        0.0, ge=0, le=1, description="Share of the score that fades with a photo's age; 0 switches it off."
    )
    ranking_recency_half_life_days: float = Field(365, gt=0, description="Age at which half of it has faded.")

    tag_min_probability: float = Field(
        0.4, ge=0, le=1, description="A tag is given from this probability on; 1 switches tagging off."
    )
    tag_max_count: int = Field(5, ge=0, le=50, description="Most tags given to one photo.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe line logged."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="Lines of the log: `console` for people, `json` for machines."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="Where traces of requests are sent by OpenTelemetry, OTLP over HTTP, for instance "
        "`http://127.0.0.1:4318/v1/traces`; needs the extra `otel`.",
    )
