"""People in Django's admin: an account, and one of the three roles for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from dashboard import audit
from dashboard.access import ROLES, role_of
from dashboard.admin_site import ForAdmins

if TYPE_CHECKING:
    Users = UserAdmin[User]
    Change = UserChangeForm[User]
    Creation = AdminUserCreationForm[User]
else:  # not subscriptable at run time
    Users, Change, Creation = UserAdmin, UserChangeForm, AdminUserCreationForm

MAY = {
    "viewer": "viewer: sees runs, connections and catalogues",
    "operator": "operator: also starts, cancels and checks",
    "admin": "admin: also changes connections, people and tokens",
}


class RoleField(forms.ChoiceField):
    def __init__(self) -> None:
        super().__init__(
            label="Role",
            choices=[*MAY.items(), ("", "none: may sign in and see nothing")],
            required=False,
            widget=forms.RadioSelect,
        )


class PersonForm(Change):
    role = RoleField()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "role" in self.fields:
            held = role_of(self.instance)
            self.initial["role"] = "" if held == "none" else held


class NewPersonForm(Creation):
    role = RoleField()


admin.site.unregister(User)


@admin.register(User)
class PeopleAdmin(ForAdmins, Users):
    form = PersonForm  # type: ignore[assignment]
    add_form = NewPersonForm
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Role", {"fields": ("is_active", "role")}),
    )
    add_fieldsets = (
        (None, {"fields": ("username", "usable_password", "password1", "password2")}),
        ("Role", {"fields": ("role",)}),
    )
    list_display = ("username", "role", "is_active", "last_login")
    list_filter = ("is_active", "groups")
    readonly_fields = ()
    filter_horizontal = ()

    @admin.display(description="Role")
    def role(self, user: User) -> str:
        return role_of(user)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Nobody locks the door behind themselves."""
        return ("is_active", "role") if obj == request.user else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj != request.user and super().has_delete_permission(request, obj)

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        user = form.instance
        if "role" in form.cleaned_data:
            user.groups.remove(*Group.objects.filter(name__in=ROLES))
            user.groups.add(*Group.objects.filter(name=form.cleaned_data["role"]))
        audit.record(
            request.user,
            "user.edit" if change else "user.create",
            user.username,
            active=user.is_active,
            roles=sorted(user.groups.values_list("name", flat=True)),
        )

    def user_change_password(
        self, request: HttpRequest, id: str, form_url: str = ""
    ) -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        user = self.get_object(request, id)
        if user and request.method == "POST" and response.status_code == 302:
            audit.record(request.user, "user.password", user)
        return response

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        audit.record(request.user, "user.delete", obj.username)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for user in queryset:
            self.delete_model(request, user)
