"""Django's admin: the same form and the same verbs as the pages, for admins only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest

from dashboard import admin_connections as admin_connections  # registers itself
from dashboard import admin_people as admin_people
from dashboard import tokens
from dashboard.admin_site import ReadOnly, Unchangeable
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


admin.site.unregister(Group)


@admin.register(Group)
class RoleAdmin(ReadOnly):
    """The three roles; people get them on their own page."""

    fields = ("name", "people")
    readonly_fields = ("people",)

    @admin.display(description="People")
    def people(self, group: Group) -> str:
        return ", ".join(group.user_set.order_by("username").values_list("username", flat=True))
