from __future__ import annotations

from django.apps import AppConfig

# As a module: a second default AppConfig in this namespace would confuse Django.
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import post_migrate


class DashboardConfig(AppConfig):
    name = "dashboard"
    verbose_name = "Surveyor"
    default = True

    def ready(self) -> None:
        # They need the models, which are not there yet when this module loads.
        from dashboard import access, audit, checks  # noqa: PLC0415

        checks.register()
        audit.listen()
        post_migrate.connect(access.create_roles, sender=self)


class AdminSiteConfig(admin_apps.AdminConfig):
    """Django's admin, with our sign-in and our roles."""

    default = False
    default_site = "dashboard.admin_site.SurveyorAdminSite"
