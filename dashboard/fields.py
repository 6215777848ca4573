"""Form fields of a connection: what may be typed, and the sentence for what may not."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, MaxValueValidator, MinValueValidator

from extraction.connection import DIALECTS, Dialect
from extraction.files import path_problem

# Letters to Unicode, nothing to the eye.
BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback"})
TLS_CHOICES = [
    ("", "By the host: verified, off on this machine"),
    ("verify-full", "verify-full: the server proves its name"),
    ("require", "require: encrypted, name not proven"),
    ("disable", "disable"),
]


def folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def what_a_database_is() -> str:
    """Where it is no name: "SQLite, DuckDB: its path …. Oracle: the service name."."""
    labels: dict[str, list[str]] = {}
    for dialect in DIALECTS.values():
        if dialect.database:
            labels.setdefault(dialect.database, []).append(dialect.label)
    return " ".join(f"{', '.join(names)}: {meaning}." for meaning, names in labels.items())


def is_visible(text: str) -> bool:
    return any(not c.isspace() and c not in BLANKS for c in text)


def default_tls(host: str) -> str:
    """Verified, except to this machine itself."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host.lower() in LOOPBACK_NAMES
    return "disable" if loopback else "verify-full"


def say_limits(field: forms.Field) -> None:
    """Django's sentences for too little and too much, in our words."""
    for validator in field.validators:
        if isinstance(validator, MinValueValidator):
            validator.message = "At least %(limit_value)s."
        elif isinstance(validator, MaxValueValidator):
            validator.message = "At most %(limit_value)s."
        elif isinstance(validator, MaxLengthValidator):
            validator.message = "At most %(limit_value)s characters; these are %(show_value)s."


class TextField(forms.CharField):
    """Text that is text: JSON numbers, lists and control characters are refused."""

    default_error_messages = {
        "required": "This is needed.",
        "invalid": "This must be text.",
        "invisible": "Use visible characters only: no control or direction characters.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        say_limits(self)

    def to_python(self, value: Any) -> str:
        if value in self.empty_values:
            return str(self.empty_value)
        if not isinstance(value, str):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return str(super().to_python(unicodedata.normalize("NFC", value)))

    def validate(self, value: str) -> None:
        super().validate(value)
        if value and not (value.isprintable() and is_visible(value)):
            raise ValidationError(self.error_messages["invisible"], code="invisible")


class SourceNameField(TextField):
    """A name inside the source, sent as it is: surrounding spaces are kept."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=128, strip=False, **kwargs)
        self.widget.attrs.update({"autocomplete": "off", "autocapitalize": "none"})

    def to_python(self, value: Any) -> str:
        # Not normalised: the source compares names byte by byte.
        if value not in self.empty_values and not isinstance(value, str):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return str(forms.CharField.to_python(self, value))


class DatabaseField(SourceNameField):
    """A name; of a kind that is a file, the path of it."""

    file = False

    def validate(self, value: str) -> None:
        super().validate(value)
        if self.file:
            problem = path_problem(value) if value else ""
            if problem:
                raise ValidationError(problem, code="path")
        elif "=" in value or "://" in value:
            raise ValidationError(
                "Only the name of the database: no URL and no key=value.", code="conninfo"
            )


class PasswordField(forms.CharField):
    """Write-only: never drawn again, whatever becomes of the form."""

    default_error_messages = {
        "required": "A password is needed. It goes to Vault, nobody can read it here.",
        "invalid": "The password must be text.",
        "nul": "A password cannot hold a NUL character.",
        "mask": "This is a mask, not a password.",
    }

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "new-password"})
        super().__init__(max_length=1024, strip=False, widget=widget, **kwargs)
        say_limits(self)

    def to_python(self, value: Any) -> str:
        if value is not None and not isinstance(value, str):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return str(super().to_python(value))

    def validate(self, value: str) -> None:
        super().validate(value)
        if "\0" in value:
            raise ValidationError(self.error_messages["nul"], code="nul")
        if value and len(value) > 2 and set(value) <= set("*•●"):
            raise ValidationError(self.error_messages["mask"], code="mask")


class HostField(TextField):
    """One name or one address. Whether it may be reached is decided on the worker."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=253, **kwargs)
        self.widget.attrs.update(
            {"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}
        )

    def clean(self, value: Any) -> str:
        host = str(super().clean(value))
        problem = host_problem(host) if host else ""
        if problem:
            raise ValidationError(problem, code="host")
        return host


def host_problem(host: str) -> str:
    """Why this is not one host, or the empty string."""
    if "://" in host:
        return "Write the host only, not a URL."
    if host.startswith(("/", "@", ".")):
        return "A socket or a file cannot be a host. Write a name or an address."
    for mark, word in {",": "comma", " ": "space", "@": "@", "/": "slash", "%": "%"}.items():
        if mark in host:
            return f"One name or address, without a {word}."
    if _is_address(host):
        return ""
    if ":" in host or host.startswith("["):
        return "Write the port in its own field, and an IPv6 address without brackets."
    if not host.isascii():
        return "Write the host in its ASCII form (xn--…)."
    labels = host.split(".")
    if not all(LABEL.fullmatch(label) for label in labels):
        return "This is not a host name: letters, digits, hyphens and single dots only."
    # 127.1, 0x7f.1 and 2130706433 are other spellings of an address.
    if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", labels[-1]):
        return "Write an IPv4 address as four numbers from 0 to 255."
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class DialectSelect(forms.Select):
    """Each kind says which fields it has, so that a script can hide the others."""

    def create_option(self, name: str, value: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        option = super().create_option(name, value, *args, **kwargs)
        dialect = DIALECTS.get(str(value))
        if dialect:
            option["attrs"] |= {"data-fields": " ".join(dialect.fields)}
            option["attrs"] |= {"data-port": dialect.default_port or ""}
        return option


class DialectField(forms.ChoiceField):
    def __init__(self, **kwargs: Any) -> None:
        choices = [(n, f"{d.label} ({d.tested})") for n, d in DIALECTS.items()]
        super().__init__(choices=choices, widget=DialectSelect, **kwargs)
        self.widget.attrs["data-kinds"] = True

    def validate(self, value: str) -> None:
        if value in DIALECTS or value in self.empty_values:
            super().validate(value)
        elif "+" in value and value.partition("+")[0] in DIALECTS:
            raise ValidationError(
                f"Write {value.partition('+')[0]}; which driver is used is not a choice.",
                code="driver",
            )
        else:
            served = ", ".join(d.label for d in DIALECTS.values())
            raise ValidationError(f"This database is not served. Served: {served}.", code="dialect")


class TlsField(forms.ChoiceField):
    default_error_messages = {
        "invalid_choice": "TLS is disable, require or verify-full; nothing in between."
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=TLS_CHOICES, **kwargs)


class CountField(forms.IntegerField):
    """A whole number; JSON's true, 1.5 and lists are not."""

    def __init__(self, maximum: int, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=maximum, **kwargs)
        say_limits(self)
        self.widget.attrs["inputmode"] = "numeric"

    def to_python(self, value: Any) -> int | None:
        if isinstance(value, bool) or not isinstance(value, int | str | None):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class PortField(CountField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(maximum=65535, **kwargs)
        self.of(DIALECTS["postgresql"])

    def of(self, dialect: Dialect) -> None:
        """Speak of the port that this kind of database has by default."""
        self.own = f"{dialect.label}'s own is {dialect.default_port}"
        self.error_messages["required"] = f"A port is needed; {self.own}."
        self.error_messages["invalid"] = f"A port is a number from 1 to 65535; {self.own}."

    def run_validators(self, value: int | None) -> None:
        if value is not None and not 1 <= value <= 65535:
            raise ValidationError(
                f"{value} is not a port. A port lies between 1 and 65535; {self.own}.",
                code="port",
            )


class SecondsField(forms.FloatField):
    """Seconds, perhaps a fraction; never NaN or infinite."""

    def __init__(self, minimum: float, maximum: float, **kwargs: Any) -> None:
        super().__init__(min_value=minimum, max_value=maximum, **kwargs)
        say_limits(self)
        self.widget.attrs.update({"inputmode": "decimal", "step": "any"})

    def prepare_value(self, value: Any) -> Any:
        """60 and not 60.0 in the form."""
        return f"{value:g}" if isinstance(value, float) else value

    def to_python(self, value: Any) -> float | None:  # type: ignore[override]
        if isinstance(value, bool) or not isinstance(value, int | float | str | None):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class TagsField(TextField):
    """`a, b` from a page, a list from the API; a list either way."""

    MOST, LONGEST = 20, 40

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        items = value.split(",") if isinstance(value, str) else (value or [])
        if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            raise ValidationError("Tags must be a list of texts.", code="invalid")
        stripped = (unicodedata.normalize("NFC", i).strip() for i in items)
        return list(dict.fromkeys(tag for tag in stripped if tag))

    def validate(self, value: Any) -> None:
        for tag in value:
            if not (tag.isprintable() and is_visible(tag)):
                raise ValidationError(self.error_messages["invisible"], code="invisible")
        if len(value) > self.MOST or any(len(tag) > self.LONGEST or "," in tag for tag in value):
            raise ValidationError(
                f"At most {self.MOST} tags, each of at most {self.LONGEST} characters.", code="tags"
            )

    def run_validators(self, value: Any) -> None:
        """A list has no length or NUL to check as text has."""
