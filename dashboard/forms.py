"""The one form of a connection, for the pages, the admin and the API alike.

Fields only, never a URL: what a driver would read out of a URL (another host, a
file, a server setting) has no way in.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.core.exceptions import ValidationError

from dashboard import fields
from dashboard.limit_fields import LIMITS, LimitFields
from dashboard.models import Connection
from extraction.connection import Options, Target
from extraction.dialects import DIALECTS, SERVER_FIELDS, Dialect

TARGET = ("dialect", "host", "port", "database", "username", "tls")
# What a caller of the API may put into `options`, and what beside it.
API_OPTIONS = (*LIMITS, "tls")
API_FIELDS = (
    *("name", "dialect", "host", "port", "database", "username", "password", "tls"),
    *("owner", "environment", "tags"),
)


if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Connection]
else:  # not subscriptable at run time
    ModelForm = forms.ModelForm


class ConnectionForm(ModelForm, LimitFields):
    """Checks a connection; `dashboard.connections` saves it.

    For an existing connection the password may stay empty, which keeps the stored
    one, unless what it is bound to has changed.
    """

    name = fields.TextField(label="Name", max_length=80)
    dialect = fields.DialectField(label="Kind of database", initial="postgresql")
    host = fields.HostField(label="Host", help_text="One name or address. No URL.")
    port = fields.PortField(label="Port", initial=5432)
    database = fields.DatabaseField(
        label="Database name",
        help_text=fields.what_a_database_is(),
    )
    username = fields.SourceNameField(label="User")
    password = fields.PasswordField(label="Password", required=False)
    tls = fields.TlsField(label="TLS", required=False)
    owner = fields.TextField(label="Owner", max_length=120, required=False)
    environment = fields.TextField(label="Environment", max_length=40, required=False)
    tags = fields.TagsField(label="Tags", required=False, help_text="Separated by commas.")

    class Meta:
        model = Connection
        fields = (*("name", *TARGET), *("owner", "environment", "tags"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        stored = asdict(self.instance.limits)
        for name in LIMITS:
            self.fields[name].required = False
            self.initial.setdefault(name, stored[name])
        if self.is_new:
            self.initial.pop("tls", None)
            self.initial.pop("port", None)
            self.fields["password"].required = True
        self._fit()

    def _fit(self) -> None:
        """Ask for what the chosen kind of database has."""
        for name in SERVER_FIELDS:
            if not self.kind.needs(name):
                self.fields[name].required = False
        cast(fields.DatabaseField, self.fields["database"]).file = self.kind.file
        cast(fields.PortField, self.fields["port"]).of(self.kind)

    @property
    def kind(self) -> Dialect:
        """What was sent, else what is stored."""
        stored = self.initial.get("dialect") or ""
        sent = self.data.get(self.add_prefix("dialect"), "") if self.is_bound else stored
        return DIALECTS.get(sent if isinstance(sent, str) else "", DIALECTS["postgresql"])

    @classmethod
    def from_api(
        cls, payload: Mapping[str, Any], instance: Connection | None = None
    ) -> ConnectionForm:
        """A form bound to a JSON object; what a PATCH leaves out keeps its value.

        An unknown key of the object or of its `options` is an error of its own.
        """
        options = payload.get("options") or {}
        unknown = [k for k in payload if k not in (*API_FIELDS, "options")]
        if isinstance(options, Mapping):
            unknown += [f"options.{k}" for k in options if k not in API_OPTIONS]
        else:
            options, unknown = {}, [*unknown, "options"]
        blank = cls(instance=instance)
        data = {n: blank.get_initial_for_field(f, n) for n, f in blank.fields.items()}
        _of_another_kind(data, payload)
        data |= {k: v for k, v in options.items() if k in API_OPTIONS}
        data |= {k: v for k, v in payload.items() if k in API_FIELDS}
        form = cls(data, instance=instance)
        form.unknown = unknown
        return form

    unknown: list[str] = []

    @property
    def is_new(self) -> bool:
        return bool(self.instance._state.adding)

    @property
    def target(self) -> Target:
        """The target of a valid form."""
        return Target(**{name: self.cleaned_data[name] for name in TARGET})

    @property
    def limits(self) -> dict[str, Any]:
        """The options of a valid form, as the row keeps them."""
        return {name: self.cleaned_data[name] for name in LIMITS}

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if _is_uuid(name):
            raise ValidationError("This looks like an id. Give the connection a name of its own.")
        others = Connection.objects.exclude(pk=self.instance.pk).values_list("name", flat=True)
        if fields.folded(name) in {fields.folded(other) for other in others}:
            raise ValidationError(f"There is a connection named {name} already.", code="taken")
        return name

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        for key in self.unknown:
            # Under its own name, which add_error() refuses for what is no field.
            self.errors[key] = self.error_class([ValidationError(_unknown(key), code="unknown")])
        self._leave_out(cleaned)
        if self.kind.has("tls"):
            cleaned["tls"] = cleaned.get("tls") or fields.default_tls(cleaned.get("host", ""))
        for name in LIMITS:
            # Emptied means the default; left out, by a page without the field, is kept.
            kept = Options() if name in self.data else self.instance.limits
            if name not in self.errors and (name not in self.data or cleaned.get(name) is None):
                cleaned[name] = getattr(kept, name)
        self._demand_password(cleaned)
        return cleaned

    def _leave_out(self, cleaned: dict[str, Any]) -> None:
        """What this kind of database does not have. A port or a mode of TLS may be the form's
        own; what somebody typed is refused, never dropped in silence."""
        for name in SERVER_FIELDS:
            if self.kind.has(name):
                continue
            if name in ("port", "tls"):
                self.errors.pop(name, None)
            elif cleaned.get(name):
                what = str(self.fields[name].label).lower()
                message = f"{self.kind.label} has no {what}: leave it empty."
                self.add_error(name, ValidationError(message, code="foreign"))
            cleaned[name] = 0 if name == "port" else ""

    def _demand_password(self, cleaned: dict[str, Any]) -> None:
        """A stored password is never sent to another place than it was entered for."""
        if not self.kind.needs("password"):
            return
        if self.is_new or cleaned.get("password") or "password" in self.errors:
            return
        changed = [n for n in TARGET if n in cleaned and cleaned[n] != self.initial.get(n)]
        if changed:
            labels = ", ".join(str(self.fields[n].label).lower() for n in changed)
            message = (
                f"Enter the password again: {labels} changed, and the stored one is bound to "
                "the old target."
            )
            self.add_error("password", ValidationError(message, code="again"))

    @property
    def new_secret(self) -> bool:
        """Whether a valid form has a secret to store: a password, or none for another target."""
        changed = any(self.cleaned_data[name] != self.initial.get(name) for name in TARGET)
        return bool(self.cleaned_data["password"]) or (changed and not self.kind.needs("password"))

    def save(self, commit: bool = False) -> Connection:
        if commit:
            raise TypeError("The verbs in dashboard.connections save a connection.")
        connection = super().save(commit=False)
        connection.options = self.limits
        return connection


class CredentialForm(forms.Form):
    """A new password, and perhaps another user, for one connection."""

    username = fields.SourceNameField(label="User", required=False)
    password = fields.PasswordField(label="New password")

    def __init__(self, *args: Any, connection: Connection, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connection = connection
        self.fields["password"].required = connection.kind.needs("password")
        self.initial.setdefault("username", connection.username)

    def clean_username(self) -> str:
        return self.cleaned_data["username"] or self.connection.username


def _of_another_kind(data: dict[str, Any], payload: Mapping[str, Any]) -> None:
    """Take out of the stored values what another kind of database does not have."""
    dialect = DIALECTS.get(str(payload.get("dialect", data["dialect"])))
    if dialect is None:
        return
    for name in SERVER_FIELDS:
        if not dialect.has(name):
            data[name] = ""
    if dialect is not DIALECTS.get(data["dialect"]) or not data["port"]:
        data["port"] = dialect.default_port


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _unknown(key: str) -> str:
    shown = "".join(c if c.isprintable() else "�" for c in unicodedata.normalize("NFC", key))[:80]
    if key.startswith("options."):
        return f"{shown} is not an option. Options are {', '.join(API_OPTIONS)}."
    if key == "options":
        return "options must be an object."
    return f"{shown} is not a field of a connection."
