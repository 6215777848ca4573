"""The form that asks what a run shall read."""

from __future__ import annotations

from django import forms
from django.core.exceptions import ValidationError

from extraction.catalog import KINDS
from extraction.errors import InvalidSelection
from extraction.selection import Selection

_LINES = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})


class SelectionForm(forms.Form):
    include = forms.CharField(
        label="Include",
        required=False,
        max_length=20_000,
        widget=_LINES,
        help_text="schema or schema.relation, one a line; * is any text, ? one character. "
        "Empty means everything.",
    )
    exclude = forms.CharField(
        label="Exclude",
        required=False,
        max_length=20_000,
        widget=_LINES,
        help_text="Wins over include.",
    )
    kinds = forms.MultipleChoiceField(
        label="Kinds",
        required=False,
        choices=[(kind, kind) for kind in KINDS],
        widget=forms.CheckboxSelectMultiple,
        help_text="None ticked means all.",
    )

    def clean_include(self) -> list[str]:
        return _patterns(self.cleaned_data["include"])

    def clean_exclude(self) -> list[str]:
        return _patterns(self.cleaned_data["exclude"])

    @property
    def selection(self) -> Selection:
        """The selection of a valid form."""
        data = self.cleaned_data
        return Selection(data["include"], data["exclude"], data["kinds"])


def _patterns(text: str) -> list[str]:
    patterns = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        Selection(include=patterns).matcher()
    except InvalidSelection as error:
        raise ValidationError(error.message) from None
    return patterns
