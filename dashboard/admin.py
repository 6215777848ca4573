"""Django's admin: the same form and the same verbs as the pages, for admins only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from dashboard import admin_connections as admin_connections  # registers itself
from dashboard import audit, tokens
from dashboard.access import role_of
from dashboard.admin_site import ForAdmins, ReadOnly, Unchangeable
from dashboard.models import ApiToken, AuditEntry, Run


@admin.register(Run)
class RunAdmin(ReadOnly):
    list_display = ("id", "connection_name", "status", "started_by", "created_at", "finished_at")
    list_filter = ("status",)
    search_fields = ("connection_name", "started_by")
    list_per_page = 50


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    list_display = ("at", "actor", "action", "subject")
    list_filter = ("action",)
    search_fields = ("actor", "subject")
    list_per_page = 100
    show_full_result_count = False


@admin.register(ApiToken)
class ApiTokenAdmin(Unchangeable):
    """Tokens are created in a shell; here they are listed, and revoked by deleting them."""

    list_display = ("name", "user", "created_at", "last_used_at")
    fields = ("name", "user", "created_at", "last_used_at")
    search_fields = ("name", "user__username")
    list_select_related = ("user",)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        tokens.revoke(obj, request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for token in queryset:
            tokens.revoke(token, request.user)


if TYPE_CHECKING:
    Users = UserAdmin[User]
else:  # not subscriptable at run time
    Users = UserAdmin

admin.site.unregister([User, Group])


@admin.register(Group)
class RoleAdmin(ReadOnly):
    """The three roles; people get them on their own page."""

    fields = ("name", "people")
    readonly_fields = ("people",)

    @admin.display(description="People")
    def people(self, group: Group) -> str:
        return ", ".join(group.user_set.order_by("username").values_list("username", flat=True))


@admin.register(User)
class PeopleAdmin(ForAdmins, Users):
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("Role", {"fields": ("is_active", "groups")}),
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
        return ("is_active", "groups") if obj == request.user else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj != request.user and super().has_delete_permission(request, obj)

    def save_related(self, request: Any, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        user = form.instance
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
