"""Who connects to PostgreSQL as whom: the owner's URL is given, the login roles' URLs follow from it.

Their passwords are derived from the installation's secret, so nothing more has to be kept; an operator who manages
roles himself sets TUNERY_DATABASE_APP_URL, TUNERY_DATABASE_DISPATCHER_URL and
TUNERY_DATABASE_NODE_URL instead.
"""

from urllib.parse import quote, urlsplit, urlunsplit

from tunery.app.settings import Settings
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, NODE_ROLE


def role_password(settings: Settings, role: str) -> str:
    """64 hex digits, the same for every process of the installation."""
    return settings.load_installation_secret().derive(f"database role {role}").hex()


def role_url(settings: Settings, role: str) -> str:
    """The URL with which `role` logs in. Raises ValueError that names the setting to mend."""
    explicit = {
        APPLICATION_ROLE: settings.database_app_url,
        DISPATCHER_ROLE: settings.database_dispatcher_url,
        NODE_ROLE: settings.database_node_url,
    }[role]
    if explicit is not None:
        return explicit
    if settings.database_url is None:
        raise ValueError("no database: set TUNERY_DATABASE_URL, or run `tunery up`, which brings its own")
    parts = urlsplit(settings.database_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{quote(role_password(settings, role))}@{host}"))
