"""Settings of the web process and of every management command."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from workers import logs
from workers.settings import CHECKOUT, WorkerSettings, load


class WebSettings(WorkerSettings):
    instance_files = ("instance.env",)

    secret_key: SecretStr = SecretStr("")
    debug: bool = False
    database_url: SecretStr = SecretStr("")
    port: int = Field(default=8000, ge=1, le=65535)
    # Worker processes that `manage.py up` keeps running.
    workers: int = Field(default=3, ge=0, le=64)
    # Full origins, scheme included; empty: the loopback names at PORT.
    allowed_origins: Annotated[list[str], NoDecode] = Field(default_factory=list)
    temporal_ui_url: str = ""

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return (
            [v.strip() for v in value.split(",") if v.strip()] if isinstance(value, str) else value
        )


env = load(WebSettings)
ENV = env  # django.conf.settings keeps upper-case names only
logs.configure(env.log_format, env.log_level, component="web")


def _database(url: str) -> dict[str, Any]:
    if not url:
        env.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        url = f"sqlite:///{env.data_dir / 'surveyor.sqlite3'}"
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": parts.path if parts.path.startswith("//") else "/" + parts.path.lstrip("/"),
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 10,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            },
        }
    if parts.scheme in {"postgres", "postgresql"}:
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts.path.lstrip("/"),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": parts.hostname or "",
            "PORT": str(parts.port or ""),
            "OPTIONS": {"connect_timeout": 5},
        }
    raise ImproperlyConfigured("DATABASE_URL must start with sqlite:/// or postgresql://")


BASE_DIR: Path = CHECKOUT
# A process without a key (a one-off `check`, a test) gets one that dies with it.
SECRET_KEY = env.secret_key.get_secret_value() or secrets.token_urlsafe(50)
DEBUG = env.debug
ORIGINS = env.allowed_origins or [f"http://{h}:{env.port}" for h in ("127.0.0.1", "localhost")]
ALLOWED_HOSTS = sorted({urlsplit(o).hostname or "" for o in ORIGINS})
CSRF_TRUSTED_ORIGINS = ORIGINS
HTTPS = all(o.startswith("https://") for o in ORIGINS)

INSTALLED_APPS = [
    "dashboard",
    "dashboard.apps.AdminSiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "dashboard.views.errors.RefusedMethods",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.access.context",
            ],
        },
    }
]
DATABASES = {"default": _database(env.database_url.get_secret_value())}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AXES_VERBOSE = False
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_ENABLE_ADMIN = False
AXES_LOCKOUT_TEMPLATE = "account/locked.html"

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "runs"
LOGOUT_REDIRECT_URL = "sign-in"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_NAME = f"surveyor_session_{env.port}"
CSRF_COOKIE_NAME = f"surveyor_csrf_{env.port}"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "connect-src": [SELF],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "form-action": [SELF],
    }
}

CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        # redis-py 8 kills blocking reads after 5 s unless told otherwise.
        "CONFIG": {
            "hosts": [{"address": env.redis_url.get_secret_value(), "socket_timeout": None}]
        },
    }
}

STATIC_URL = "/static/"
STATIC_ROOT = env.data_dir / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
SERVESTATIC_USE_FINDERS = True
SERVESTATIC_AUTOREFRESH = DEBUG

LANGUAGE_CODE = "en"
USE_I18N = False
FORMAT_MODULE_PATH = "config.formats"
TIME_ZONE = "UTC"
USE_TZ = True
LOGGING_CONFIG = None  # structlog owns logging; see workers/logs.py
