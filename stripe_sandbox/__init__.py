"""A local stand-in for Stripe: its API, its payment page, its portal and its webhooks."""
