"""Django's admin behind our own door: one sign-in, and the role admin instead of is_staff."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, TypeVar, cast

from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.decorators import method_decorator

from dashboard.access import has_role

View = TypeVar("View", bound=Callable[..., HttpResponseBase])


class SurveyorAdminSite(admin.AdminSite):
    site_header = site_title = "Surveyor"
    index_title = "Administration"
    site_url = "/"
    enable_nav_sidebar = False

    def has_permission(self, request: HttpRequest) -> bool:
        return has_role(request.user, "admin")

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        inner = super().admin_view(view, cacheable)

        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            self._refuse(request)
            return inner(request, *args, **kwargs)

        return cast(View, update_wrapper(guarded, inner))

    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """There is one sign-in, with its lock-out; it comes back here."""
        self._refuse(request)
        if self.has_permission(request):
            return redirect(f"{self.name}:index")
        return redirect_to_login(request.GET.get("next") or request.path.removesuffix("login/"))

    def logout(self, request: HttpRequest, extra_context: Any = None) -> Any:
        return redirect("sign-out", preserve_request=True)

    def _refuse(self, request: HttpRequest) -> None:
        if request.user.is_authenticated and not self.has_permission(request):
            raise PermissionDenied("This needs the role admin.")


if TYPE_CHECKING:
    Base = admin.ModelAdmin[Model]
else:  # not subscriptable at run time
    Base = admin.ModelAdmin


class ForAdmins(Base):
    """Rights by role: Django's own permissions per model are not used."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return has_role(request.user, "admin")

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_role(request.user, "admin")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return has_role(request.user, "admin")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_role(request.user, "admin")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return has_role(request.user, "admin")


class Unchangeable(ForAdmins):
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ReadOnly(Unchangeable):
    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False
