from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache


@method_decorator(never_cache, name="dispatch")
class SignIn(LoginView):
    """Django's own sign-in; an invalid form answers 422, so no one takes it for a page."""

    template_name = "account/sign_in.html"
    redirect_authenticated_user = True
    request: HttpRequest

    def form_invalid(self, form: object) -> HttpResponse:
        response = self.render_to_response(self.get_context_data(form=form))
        response.status_code = 422
        return response
