"""The currencies the sandbox takes, and how their amounts read."""

# Amounts in these have no minor unit (https://docs.stripe.com/currencies#zero-decimal).
ZERO_DECIMAL = frozenset(
    ("bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf")
)
CURRENCIES = ZERO_DECIMAL | frozenset(
    (
        *("usd", "aed", "ars", "aud", "bgn", "brl", "cad", "chf", "cny", "cop", "czk", "dkk", "egp", "eur", "gbp"),
        *("hkd", "huf", "idr", "ils", "inr", "isk", "kes", "mad", "mxn", "myr", "ngn", "nok", "nzd", "pen", "php"),
        *("pkr", "pln", "qar", "ron", "rsd", "sar", "sek", "sgd", "thb", "try", "twd", "uah", "uyu", "zar"),
    )
)


def format_amount(amount: int, currency: str) -> str:
    """An amount in minor units as text for people: `1234, "usd"` gives `12.34 USD`."""
    if currency in ZERO_DECIMAL:
        return f"{amount:,} {currency.upper()}"
    return f"{amount // 100:,}.{amount % 100:02d} {currency.upper()}"
