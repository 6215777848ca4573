from __future__ import annotations

import pytest


@pytest.mark.django_db
def test_the_admin_wears_our_colours(client, admin):
    client.force_login(admin)
    text = client.get("/admin/").content.decode()
    assert "/static/admin.css" in text
    assert "/static/icon.svg" in text
