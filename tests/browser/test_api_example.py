"""The example for the browser in docs/api.md, on a page of the shop."""

import pytest

from billing.models import Purchase
from tests.docs.examples import program

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]


def test_a_page_of_the_shop_opens_the_payment_page(page, site, sandbox, client, user):
    client.force_login(user)
    page.context.add_cookies(
        [{"name": name, "value": one.value, "url": site} for name, one in client.cookies.items()]
    )
    page.goto("/credits")
    page.evaluate(f"async () => {{ {program('docs/api.md', 'In the browser', 'js')} }}")
    page.wait_for_url(f"{sandbox.base_url}/c/pay/*")
    purchase = Purchase.objects.get()
    assert (purchase.user, purchase.credits, purchase.total) == (user, 1234, 1172)
