"""Connections in Django's admin: ConnectionForm and the verbs, nothing of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters

from dashboard import connections
from dashboard.admin_site import ForAdmins
from dashboard.connections import ConnectionRefused, Unavailable
from dashboard.forms import ConnectionForm, CredentialForm
from dashboard.models import Connection, Run

secret_post = method_decorator(sensitive_post_parameters("password"))


class AdminForm(ConnectionForm):
    """A form that a verb has refused: drawn again with what was typed, and the reason."""

    refusal = ""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if self.refusal:
            raise ValidationError(self.refusal)
        return cleaned


@admin.register(Connection)
class ConnectionAdmin(ForAdmins):
    form = AdminForm  # type: ignore[assignment]
    fieldsets = (
        ("Where", {"fields": ("name", "dialect", "host", "port", "database", "tls")}),
        ("Credential", {"fields": ("username", "password")}),
        (
            "A polite guest",
            {
                "fields": (
                    *("sessions", "pace", "statement_timeout", "lock_timeout"),
                    *("hours", "days", "timezone"),
                )
            },
        ),
        ("Whose", {"fields": ("owner", "environment", "tags")}),
    )
    list_display = ("name", "host", "port", "database", "environment", "owner", "credential")
    list_filter = ("environment",)
    search_fields = ("name", "host", "database", "owner")
    actions = ("check_connections", "rotate_credential")
    list_per_page = 50

    @admin.display(description="Credential")
    def credential(self, connection: Connection) -> str:
        return f"version {connection.credential_version}"

    def get_urls(self) -> list[URLPattern]:
        rotate = self.admin_site.admin_view(self.rotate_view)
        return [
            path("<uuid:pk>/rotate/", rotate, name="dashboard_connection_rotate"),
            *super().get_urls(),
        ]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        form: Any = super().get_form(request, obj, change, **kwargs)
        form.refusal = getattr(request, "refusal", "")
        return form

    @secret_post
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Without Django's transaction around it: Vault is never waited for in one."""
        draw: Callable[..., HttpResponse] = super()._changeform_view  # type: ignore[misc]
        try:
            return draw(request, object_id, form_url, extra_context)
        except (ConnectionRefused, Unavailable) as error:
            request.refusal = str(error)  # type: ignore[attr-defined]
            response = draw(request, object_id, form_url, extra_context)
            if response.status_code == 200:
                response.status_code = error.status
            return response

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            connections.edit(obj, form, request.user)
        else:
            connections.create(form, request.user)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        try:
            return super().delete_view(request, object_id, extra_context)
        except ConnectionRefused as error:
            messages.error(request, str(error))
            return redirect("admin:dashboard_connection_change", object_id)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Connections with an open run stand under what cannot be deleted."""
        deletable, counts, permissions, protected = super().get_deleted_objects(objs, request)
        busy = Run.objects.filter(connection__in=objs, status__in=Run.OPEN)
        protected = [*protected, *(f"{run.connection_name}: run {run.pk} is open" for run in busy)]
        return deletable, counts, permissions, protected

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        connections.delete(obj, request.user)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for connection in queryset:
            try:
                connections.delete(connection, request.user)
            except ConnectionRefused as error:
                messages.error(request, f"{connection}: {error}")

    @admin.action(description="Check selected connections")
    def check_connections(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for connection in queryset:
            try:
                result = connections.check(connection, request.user)
            except (ConnectionRefused, Unavailable) as error:
                messages.error(request, f"{connection}: {error}")
                return
            if result.ok:
                messages.success(request, f"{connection}: {result.server_version} answers.")
            for step in (s for s in result.steps if not s.ok):
                messages.error(request, f"{connection}, {step.name}: {step.detail} {step.fix}")

    @admin.action(description="Rotate the credential of one connection")
    def rotate_credential(
        self, request: HttpRequest, queryset: QuerySet[Any]
    ) -> HttpResponse | None:
        chosen = list(queryset[:2])
        if len(chosen) == 1:
            return redirect("admin:dashboard_connection_rotate", chosen[0].pk)
        messages.error(request, "Choose one connection: each has a password of its own.")
        return None

    @secret_post
    def rotate_view(self, request: HttpRequest, pk: Any) -> HttpResponse:
        connection = get_object_or_404(Connection, pk=pk)
        form = CredentialForm(request.POST or None, connection=connection)
        status = 422 if form.is_bound and not form.is_valid() else 200
        if form.is_bound and status == 200:
            try:
                return self._rotate(request, connection, form)
            except (ConnectionRefused, Unavailable) as error:
                form.add_error(None, str(error))
                status = error.status
        context = {
            **self.admin_site.each_context(request),
            "title": f"Rotate the credential of {connection}",
            "connection": connection,
            "form": form,
        }
        return render(request, "admin/connection_rotate.html", context, status=status)

    def _rotate(
        self, request: HttpRequest, connection: Connection, form: CredentialForm
    ) -> HttpResponseRedirect:
        values = form.cleaned_data
        changed = connections.rotate(
            connection, values["username"], values["password"], request.user
        )
        self.log_change(request, changed, "Rotated the credential.")
        messages.success(request, f"Stored as version {changed.credential_version}.")
        return HttpResponseRedirect(reverse("admin:dashboard_connection_change", args=[changed.pk]))
