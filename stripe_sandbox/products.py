"""Products and the prices that are made for one order."""

import time

from stripe_sandbox import events, store
from stripe_sandbox.errors import ApiError, invalid, unsupported
from stripe_sandbox.params import Params, merged
from stripe_sandbox.store import Object

SUPPORTED = {"active", "description", "expand", "id", "metadata", "name"}


def create(params: Params) -> Object:
    """Raises Stripe's error when the id that the caller has chosen is taken."""
    unknown = set(params) - SUPPORTED
    if unknown:
        raise unsupported(f"{', '.join(sorted(unknown))} of a product")
    product_id = params.get("id") or store.new_id("prod")
    if store.find(product_id):
        raise ApiError(400, "Product already exists.", code="resource_already_exists")
    product = _product(
        product_id,
        name=params["name"],
        active=params.get("active", True),
        description=params.get("description") or None,
        metadata=merged({}, params.get("metadata", "")),
    )
    events.emit("product.created", product)
    return product


def _product(id: str, **fields: object) -> Object:
    now = int(time.time())
    return store.put(
        {
            "id": id,
            "object": "product",
            "active": True,
            "created": now,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": {},
            "type": "service",
            "updated": now,
            **fields,
        }
    )


def check_monthly(recurring: Object) -> None:
    if (recurring["interval"], recurring.get("interval_count", 1)) != ("month", 1):
        raise unsupported("intervals other than a month")


def price_of(data: Object, *, at: str) -> Object:
    """The monthly price that `price_data` asks for: of a product that there is, or of a new one.

    `at` is the data's place among the parameters. Raises Stripe's errors.
    """
    if "unit_amount" not in data:
        raise unsupported("price_data without unit_amount")
    if data["unit_amount"] < 0:
        raise invalid("This value must be greater than or equal to 0.", param=f"{at}[unit_amount]")
    check_monthly(data["recurring"])
    if "product" in data:
        product = store.get("product", data["product"])
        if product is None:
            raise invalid(
                f"No such product: '{data['product']}'",
                param=f"{at}[product]",
                code="resource_missing",
            )
    else:
        wanted = data["product_data"]
        product = _product(
            store.new_id("prod"),
            name=wanted["name"],
            description=wanted.get("description") or None,
            metadata=wanted.get("metadata") or {},
        )
    return store.put(
        {
            "id": store.new_id("price"),
            "object": "price",
            "active": True,
            "billing_scheme": "per_unit",
            "created": int(time.time()),
            "currency": data["currency"].lower(),
            "livemode": False,
            "metadata": {},
            "product": product["id"],
            "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
            "type": "recurring",
            "unit_amount": data["unit_amount"],
            "unit_amount_decimal": str(data["unit_amount"]),
        }
    )


def name_of(price: Object) -> str:
    name: str = store.held(price["product"])["name"]
    return name
