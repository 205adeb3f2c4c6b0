"""Promotions in the admin: their terms in words, codes by the thousand, and who may what."""

import csv
import io
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.utils import timezone

from accounts.models import User
from billing import promotions
from billing.admin.promotions import in_words
from billing.models import PromoCode, Promotion, Redemption
from tests.promotions import miscounted, promo, voucher
from tests.second_step import StaffClient

pytestmark = pytest.mark.django_db
ADD = "/admin/billing/promotion/add/"
CODE = re.compile(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}")


def page(promotion: Promotion, what: str = "change/") -> str:
    return f"/admin/billing/promotion/{promotion.pk}/{what}"


def terms(**given) -> dict[str, str]:
    return {
        "name": "Summer", "kind": "bonus", "percent": "10", "max_bonus": "5000", "credits": "",
        "min_credits": "", "first_purchase_only": "on", "starts_at": "", "ends_at": "",
        "max_uses": "", "max_uses_per_user": "1",
        "expires_after_days": "", "is_active": "on", **given,
    }  # fmt: skip


def clerk(*names: str) -> StaffClient:
    user = User.objects.create(email="clerk@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = StaffClient()
    client.force_login(user)
    return client


def test_a_promotion_is_made_and_read_in_words_before_it_has_codes(admin_client):
    answer = admin_client.post(ADD, terms(_save="Save"), follow=True)
    promotion = Promotion.objects.get()
    assert answer.redirect_chain[-1][0] == page(promotion, "codes/new/")
    words = "10% more, at most 5,000 credits, first purchase only, 1 use for each customer"
    assert in_words(promotion) == words
    assert words in answer.content.decode()
    assert "It has no code yet" in admin_client.get(page(promotion)).content.decode()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"credits": 1}, "1 credit more, 1 use for each customer"),
        ({"kind": "voucher", "credits": 500, "max_uses": 10, "expires_after_days": 30},
         "500 credits, 10 uses in all, 1 use for each customer, to be spent within 30 days"),
        ({"percent": 25, "min_credits": 2000, "max_uses_per_user": 3},
         "25% more, from 2,000 credits on, 3 uses for each customer"),
    ],
)  # fmt: skip
def test_words(given, words):
    assert in_words(promo(**given).promotion) == words


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"credits": "5"}, "Give either percent or credits."),
        ({"percent": ""}, "Give either percent or credits."),
        ({"percent": "", "credits": "5"}, "Only a bonus in percent has a maximum."),
        ({"kind": "voucher"}, "A voucher gives a fixed number of credits"),
        ({"starts_at": "2026-02-02T00:00", "ends_at": "2026-02-01T00:00"},
         "It must end after it starts."),
        ({"percent": "-5"}, "greater than or equal to"),
        ({"max_uses_per_user": "0"}, "greater than or equal to 1"),
    ],
)  # fmt: skip
def test_terms_that_make_no_sense_are_refused(admin_client, given, words):
    answer = admin_client.post(ADD, terms(**given))
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not Promotion.objects.exists()


def test_a_thousand_codes_of_80_bits_with_csv(admin_client):
    promotion = promo("SUMMER25").promotion
    answer = admin_client.post(page(promotion, "codes/new/"), {"count": "1000", "max_uses": "1"})
    assert answer.status_code == 302
    made = promotion.codes.exclude(batch=None)
    assert made.count() == 1000
    assert set(made.values_list("max_uses", flat=True)) == {1}
    assert (promotions._LENGTH, len(set(promotions._ALPHABET))) == (16, 32)  # 5 bits each
    batch = made.values_list("batch", flat=True).first()
    assert f"codes.csv?batch={batch}" in admin_client.get(page(promotion)).content.decode()

    answer = admin_client.get(page(promotion, f"codes.csv?batch={batch}"))
    assert answer["Content-Disposition"] == f'attachment; filename="codes-{promotion.pk}.csv"'
    assert "no-store" in answer["Cache-Control"]
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert rows[0] == ["code", "used", "uses", "made"]
    assert len(rows) == 1001
    assert all(CODE.fullmatch(row[0]) for row in rows[1:])
    assert {tuple(row[1:3]) for row in rows[1:]} == {("0", "1")}
    # As it is handed out, it can be typed.
    assert {promotions.normalised(row[0]) for row in rows[1:]} == {code.code for code in made}
    all_of_it = admin_client.get(page(promotion, "codes.csv")).content.decode()
    assert len(all_of_it.splitlines()) == 1002
    assert admin_client.get(page(promotion, "codes.csv?batch=x")).status_code == 404
    assert LogEntry.objects.filter(object_id=str(promotion.pk)).count() == 3


@pytest.mark.parametrize(
    "given",
    [
        {}, {"code": "NEW1", "count": "5"}, {"count": "1001"}, {"count": "0"}, {"code": "ABC"},
        {"code": "=1+1"}, {"code": "ÄÖÜÄÖÜ"}, {"code": "summer-25"},
        {"code": "NEW1", "max_uses": "0"},
    ],
)  # fmt: skip
def test_codes_that_are_refused(admin_client, given):
    promotion = promo().promotion
    answer = admin_client.post(page(promotion, "codes/new/"), given)
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert PromoCode.objects.count() == 1


def test_terms_stay_once_somebody_has_used_a_code(admin_client, user):
    code = voucher(max_uses=5)
    promotions.redeem(user, "GIFT500")
    promotion = code.promotion
    given = terms(kind="bonus", percent="99", max_uses="4", name="Other", max_uses_per_user="9")
    answer = admin_client.post(page(promotion), given)
    assert "It is in use: this can only be raised." in answer.content.decode()
    ends = timezone.now() + timedelta(days=9)
    given = given | {"max_uses": "6", "ends_at": f"{ends:%Y-%m-%dT12:00}"}
    del given["is_active"]
    assert admin_client.post(page(promotion), given).status_code == 302
    promotion.refresh_from_db()
    assert (promotion.kind, promotion.percent, promotion.max_uses_per_user) == ("voucher", None, 1)
    assert (promotion.max_uses, promotion.name, promotion.is_active) == (6, "Other", False)
    assert f"{promotion.ends_at:%Y-%m-%dT%H:%M}" == f"{ends:%Y-%m-%dT12:00}"
    assert miscounted() == []


def test_saving_leaves_the_count_of_uses_alone(admin_client, user, monkeypatch):
    promotion = voucher().promotion
    from billing.admin.promotions import PromotionForm

    clean = PromotionForm.clean_max_uses

    def meanwhile(form):
        if not Redemption.objects.exists():
            promotions.redeem(user, "GIFT500")
        return clean(form)

    monkeypatch.setattr(PromotionForm, "clean_max_uses", meanwhile)
    given = terms(kind="voucher", percent="", max_bonus="", credits="500", name="Other")
    del given["first_purchase_only"]
    assert admin_client.post(page(promotion), given).status_code == 302
    promotion.refresh_from_db()
    assert (promotion.name, promotion.used) == ("Other", 1)
    assert miscounted() == []


def test_figures(admin_client, user):
    promotion = voucher(ends_at=timezone.now() + timedelta(days=1)).promotion
    promotions.redeem(user, "GIFT500")
    Promotion.objects.update(ends_at=timezone.now())
    text = admin_client.get("/admin/billing/promotion/?q=gift500").content.decode()
    for column, value in (("state", "Ended"), ("redeemed", "1"), ("bonus", "500")):
        assert f'<td class="field-{column}">{value}</td>' in text
    text = admin_client.get(page(promotion)).content.decode()
    assert "1 code. Redeemed: 1; credits granted: 500." in text
    listed = f"/admin/billing/redemption/?code__promotion__id__exact={promotion.pk}"
    assert "ada@example.com" in admin_client.get(listed).content.decode()


def test_nobody_deletes_and_redemptions_are_to_read(admin_client, user):
    code = voucher()
    use = promotions.redeem(user, "GIFT500")
    for address in (
        page(code.promotion, "delete/"),
        f"/admin/billing/promocode/{code.pk}/delete/",
        f"/admin/billing/redemption/{use.pk}/delete/",
        "/admin/billing/redemption/add/",
    ):
        assert admin_client.post(address, {"post": "yes"}).status_code == 403
    answer = admin_client.post(f"/admin/billing/redemption/{use.pk}/change/", {"credits": "9"})
    assert answer.status_code == 403
    use.refresh_from_db()
    assert use.credits == 500


def test_codes_are_money_so_each_step_has_its_permission():
    promotion = promo().promotion
    client = clerk("view_promotion", "change_promotion")
    assert client.get(page(promotion)).status_code == 200
    assert client.get(page(promotion, "codes.csv")).status_code == 403
    assert client.post(page(promotion, "codes/new/"), {"count": "5"}).status_code == 403
    assert client.get("/admin/billing/promocode/").status_code == 403
    assert "codes.csv" not in client.get(page(promotion)).content.decode()
    assert PromoCode.objects.count() == 1


def test_customers_see_none_of_it(user):
    promotion = promo().promotion
    client = StaffClient()
    client.force_login(user)
    for address in (page(promotion), page(promotion, "codes.csv"), page(promotion, "codes/new/")):
        assert client.get(address).status_code == 302
