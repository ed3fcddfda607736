"""Every setting of every process, read from `TUNERY_*` (and `.env`), checked once at the start."""

import base64
import binascii
import socket
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT_KEY_BYTES = 32


class Settings(BaseSettings):
    """Settings of one process. `tunery up` fills the URLs of the services that are not set; nothing else has defaults
    that only suit a laptop.
    """

    model_config = SettingsConfigDict(env_prefix="TUNERY_", env_file=".env", extra="ignore", frozen=True)

    database_url: str | None = Field(
        None, description="PostgreSQL as the owner of the schema: migrations and `tunery up` only."
    )
    database_app_url: str | None = Field(
        None, description="PostgreSQL as `tunery_app`, the role of the API; derived from the owner's URL when unset."
    )
    database_dispatcher_url: str | None = Field(
        None, description="PostgreSQL as `tunery_dispatcher`: outbox relay, sweepers; derived when unset."
    )
    database_statement_seconds: float = Field(
        30, gt=0, description="how long one statement of a unit of work may take; migrations have no limit"
    )
    redis_url: str | None = Field(None, description="Redis or Valkey, e.g. redis://localhost:6379/0")
    storage_url: str | None = Field(None, description="Object storage: file:///folder or s3://bucket/prefix")

    stripe_secret_key: SecretStr | None = Field(
        None, description="sk_test_… or sk_live_…; unset, `tunery up` brings its sandbox"
    )
    stripe_webhook_secret: SecretStr | None = Field(None, description="whsec_… of the endpoint /webhooks/stripe")
    stripe_api_base: str = Field("https://api.stripe.com", description="where the Stripe SDK sends its requests")

    root_key: SecretStr | None = Field(None, description="32 bytes in base64; seals every tenant's private key")
    root_key_file: Path | None = Field(None, description="a file that holds the root key in base64")

    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that the API listens on")
    public_url: str | None = Field(None, description="how clients reach the API; default http://host:port")

    node_name: str = Field(default_factory=socket.gethostname, description="name of this node; no two may share one")
    node_host: str = Field("127.0.0.1", description="address that this node's inference server listens on")
    node_port: int = Field(0, ge=0, le=65535, description="port of this node's inference server; 0 picks a free one")
    node_url: str | None = Field(None, description="how the API reaches this node; default http://node_host:node_port")
    node_threads: int | None = Field(None, ge=1, description="CPU threads of a node's training; default half the cores")
    lease_seconds: float = Field(30, gt=0, description="how long a training lease lasts without renewal")
    hub_endpoint: str | None = Field(None, description="where base models come from; default the Hugging Face hub")
    hub_cache_dir: Path | None = Field(None, description="where base models from the Hugging Face hub are kept")

    data_set_max_bytes: int = Field(512 * 1024**2, gt=0, description="largest data set, in bytes")
    data_set_max_line_bytes: int = Field(1024**2, gt=0, description="longest line of a data set, in bytes")

    environment: Literal["development", "production"] = Field(
        "production",
        description="development opens introspection, GraphiQL and suggestions of /graphql; "
        "`tunery up` and `tunery demo` choose it on a loopback address",
    )
    cors_origins: str = Field(
        "", description="origins whose pages may call the API, separated by commas, e.g. https://console.example.com"
    )
    public_cache_seconds: int = Field(
        60, ge=0, description="how long caches may keep public answers of GET /graphql, in seconds"
    )
    rate_limit_points: int = Field(
        10_000, gt=0, description="GraphQL points that an API key may spend at once; its organisation twice as many"
    )
    rate_limit_per_second: float = Field(
        500, gt=0, description="GraphQL points per second that an API key regains; its organisation twice as many"
    )
    anonymous_rate_limit_points: int = Field(
        2_000, gt=0, description="GraphQL points that an address may spend at once without an API key"
    )
    anonymous_rate_limit_per_second: float = Field(
        50, gt=0, description="GraphQL points per second that an address regains without an API key"
    )

    tracing_endpoint: str | None = Field(
        None, description="where spans go, OTLP over HTTP, e.g. http://collector:4318/v1/traces; unset: no tracing"
    )
    tracing_per_second: float = Field(
        5,
        ge=0,
        description="requests per second that a process traces at most; those whose traceparent asks come on top",
    )
    trusted_proxies: str = Field(
        "", description="addresses of proxies whose X-Forwarded-For is believed, separated by commas; * believes all"
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @field_validator("root_key")
    @classmethod
    def _root_key_is_32_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            decode_root_key(value.get_secret_value())
        return value

    @property
    def cors_origin_list(self) -> list[str]:
        return [origin for part in self.cors_origins.split(",") if (origin := part.strip().rstrip("/"))]

    @property
    def base_url(self) -> str:
        """How clients reach the API, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    def load_root_key(self) -> bytes:
        """The root key's 32 bytes. Raises ValueError that says which setting to mend."""
        if self.root_key is not None:
            return decode_root_key(self.root_key.get_secret_value())
        if self.root_key_file is not None:
            return decode_root_key(self.root_key_file.read_text().strip())
        raise ValueError("no root key: set TUNERY_ROOT_KEY or TUNERY_ROOT_KEY_FILE (32 random bytes in base64)")


def decode_root_key(text: str) -> bytes:
    """32 bytes from base64. Raises ValueError without repeating the secret."""
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("the root key is not valid base64") from None
    if len(key) != ROOT_KEY_BYTES:
        raise ValueError(f"the root key holds {len(key)} bytes, not {ROOT_KEY_BYTES}")
    return key
