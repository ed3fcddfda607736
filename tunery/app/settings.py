"""Every setting of every process, read from `TUNERY_*` (and `.env`), checked once at the start."""

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

if TYPE_CHECKING:  # the vault takes time to import, and `tunery --help` needs none of it
    from tunery.vault.installation import InstallationSecret
    from tunery.vault.root_keys import RootKeys


class EmbeddingServer(BaseModel):
    """A server with OpenAI's `/v1/embeddings`, and one of its models."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(pattern=r"^[A-Za-z0-9._/:-]{1,100}$")
    url: str = Field(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")
    """As OpenAI's clients know it as base URL, e.g. https://api.openai.com/v1."""
    api_key: SecretStr | None = None


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
    database_node_url: str | None = Field(
        None, description="PostgreSQL as `tunery_node`, the role of nodes; derived when unset."
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

    root_key: SecretStr | None = Field(
        None,
        description="32 bytes in base64, or aws-kms: and the ARN of a key; seals every tenant's private key. While one"
        " takes another's place: both, the new one first, separated by a comma",
    )
    root_key_file: Path | None = Field(None, description="a file that holds the root key; several: one a line")
    installation_secret: SecretStr | None = Field(
        None,
        description="32 bytes in base64, from which the database roles' passwords and the nodes' token follow; unset,"
        " the root key stands in for it, where there is but one that is no KMS key",
    )
    signature_algorithm: Literal["ML-DSA-65", "ML-DSA-87", "Falcon-512", "Falcon-1024"] = Field(
        "ML-DSA-65",
        description="what `tunery migrate` makes a new signing key for; the Falcons are experimental and need liboqs",
    )

    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that the API listens on")
    public_url: str | None = Field(None, description="how clients reach the API; default http://host:port")

    node_name: str = Field(default_factory=socket.gethostname, description="name of this node; no two may share one")
    node_host: str = Field("127.0.0.1", description="address that this node's inference server listens on")
    node_port: int = Field(0, ge=0, le=65535, description="port of this node's inference server; 0 picks a free one")
    node_url: str | None = Field(None, description="how the API reaches this node; default http://node_host:node_port")
    node_token: SecretStr | None = Field(
        None,
        min_length=32,
        description="what the API shows to nodes, the same for all; unset, it follows from the installation's secret",
    )
    node_threads: int | None = Field(None, ge=1, description="CPU threads of a node's training; default half the cores")
    lease_seconds: float = Field(30, gt=0, description="how long a training lease lasts without renewal")
    hub_endpoint: str | None = Field(None, description="where base models come from; default the Hugging Face hub")
    hub_cache_dir: Path | None = Field(None, description="where base models from the Hugging Face hub are kept")

    embeddings: SecretStr | None = Field(
        None,
        description="models that embed memories, the newest first, as JSON: [{model, url, api_key}], url as OpenAI's"
        " clients take it (https://api.openai.com/v1); those of older memories behind it. Unset: MiniLM on the nodes",
    )

    memory_shelf_rows: int = Field(
        20_000, gt=0, description="memories above which an organisation's search gets indexes of its own"
    )

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
    metrics_endpoint: str | None = Field(
        None, description="where counters go, OTLP over HTTP, e.g. http://collector:4318/v1/metrics; unset: nowhere"
    )
    trusted_proxies: str = Field(
        "", description="addresses of proxies whose X-Forwarded-For is believed, separated by commas; * believes all"
    )
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @field_validator("root_key")
    @classmethod
    def _root_keys_can_be_read(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _parse_root_keys(value.get_secret_value().split(","))
        return value

    @field_validator("installation_secret")
    @classmethod
    def _installation_secret_is_32_bytes(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _decode_installation_secret(value)
        return value

    @field_validator("embeddings")
    @classmethod
    def _embeddings_can_be_read(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _parse_embeddings(value)
        return value

    @property
    def embedding_servers(self) -> list[EmbeddingServer]:
        """The newest first."""
        return [] if self.embeddings is None else _parse_embeddings(self.embeddings)

    @property
    def cors_origin_list(self) -> list[str]:
        return [origin for part in self.cors_origins.split(",") if (origin := part.strip().rstrip("/"))]

    @property
    def base_url(self) -> str:
        """How clients reach the API, without a trailing slash."""
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")

    def load_root_keys(self) -> "RootKeys":
        """The root keys, the newest first. Raises ValueError that says which setting to mend."""
        if self.root_key is not None:
            return _parse_root_keys(self.root_key.get_secret_value().split(","))
        if self.root_key_file is not None:
            return _parse_root_keys(self.root_key_file.read_text().splitlines())
        raise ValueError("no root key: set TUNERY_ROOT_KEY or TUNERY_ROOT_KEY_FILE (32 random bytes in base64)")

    def load_installation_secret(self) -> "InstallationSecret":
        """What the processes of the installation share. Raises ValueError that says which setting to mend."""
        from tunery.vault.installation import InstallationSecret

        if self.installation_secret is not None:
            return InstallationSecret(_decode_installation_secret(self.installation_secret))
        if self.root_key is None and self.root_key_file is None:
            raise ValueError(
                "no installation secret: set TUNERY_INSTALLATION_SECRET (32 random bytes in base64);"
                " where there is a root key, it stands in for it"
            )
        local = self.load_root_keys().local
        if not local:
            raise ValueError("root keys of AWS KMS need TUNERY_INSTALLATION_SECRET beside them (32 bytes in base64)")
        if len(local) > 1:
            # Their order says which one seals, not which one was here first, and passwords must not change with it.
            raise ValueError(
                "several root keys need TUNERY_INSTALLATION_SECRET beside them: set it to the one that was here first,"
                " on each machine, and no password changes"
            )
        return InstallationSecret(local[0].key)

    def load_node_token(self) -> str:
        """What the API shows to nodes. Raises ValueError that says which setting to mend."""
        if self.node_token is not None:
            return self.node_token.get_secret_value()
        return self.load_installation_secret().derive("node gateway").hex()


def explain(error: ValidationError) -> str:
    """A line for each wrong setting. The error's own text repeats its value, which may be a secret."""
    return "\n".join(f"  TUNERY_{'_'.join(map(str, part['loc'])).upper()}: {part['msg']}" for part in error.errors())


def _parse_embeddings(value: SecretStr) -> list[EmbeddingServer]:
    """Raises ValueError that says which part is wrong, and does not repeat it: there are API keys in it."""
    try:
        servers = TypeAdapter(list[EmbeddingServer]).validate_json(value.get_secret_value())
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, part['loc'])) or 'it'}: {part['msg']}" for part in error.errors())
        raise ValueError(f"the embeddings are a JSON list of {{model, url, api_key}}: {wrong}") from None
    models = [server.model for server in servers]
    if len(set(models)) < len(models):
        raise ValueError("two embedding servers with the same model: leave one out")
    return servers


def _parse_root_keys(texts: list[str]) -> "RootKeys":
    from tunery.vault.root_keys import parse_root_keys

    return parse_root_keys([text.strip() for text in texts if text.strip()])


def _decode_installation_secret(value: SecretStr) -> bytes:
    from tunery.vault.root_keys import decode_secret

    return decode_secret(value.get_secret_value(), "the installation's secret")
