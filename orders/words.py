"""What everything about an order is called, for a customer and for an operator, in every language side by side."""

from chain.words import LinkWords, Text, Worded, Words


class Status(Worded):
    """Where an order stands."""

    RECEIVED = "received", Text("Received", "Отримано")
    PROCESSING = "processing", Text("On its way", "У дорозі")
    AWAITING_PAYMENT = "awaiting_payment", Text("Awaiting payment", "Чекає на оплату")
    PARKED = "parked", Text("Parked", "Відкладено")
    CONFIRMED = "confirmed", Text("Confirmed", "Підтверджено")
    REJECTED = "rejected", Text("Rejected", "Відхилено")
    CANCELLED = "cancelled", Text("Cancelled", "Скасовано")


class Reason(Worded):
    """Why an order was refused. The codes are stable; the sentences are what a customer reads."""

    PAYMENT_NOT_FOUND = (
        "payment_not_found",
        Text("The payment provider does not know this payment.", "Платіжна система не знає цього платежу."),
    )
    PAYMENT_DECLINED = "payment_declined", Text("The bank has declined the payment.", "Банк відхилив платіж.")
    PAYMENT_AMOUNT_MISMATCH = (
        "payment_amount_mismatch",
        Text("The amount that was paid is not what the order comes to.", "Сплачена сума не дорівнює сумі замовлення."),
    )
    PAYMENT_CURRENCY_MISMATCH = (
        "payment_currency_mismatch",
        Text("It was paid in another currency than the order’s.", "Сплачено не в тій валюті, що в замовленні."),
    )
    PAYMENT_ALREADY_USED = (
        "payment_already_used",
        Text("This payment already belongs to another order.", "Цей платіж уже належить іншому замовленню."),
    )
    PAYMENT_EXPIRED = (
        "payment_expired",
        Text("The bank’s permission to take the money ran out.", "Термін дозволу банку на списання минув."),
    )
    PAYMENT_TIMEOUT = (
        "payment_timeout",
        Text("The bank did not confirm the payment in time.", "Банк не підтвердив платіж вчасно."),
    )
    UNKNOWN_SKU = (
        "unknown_sku",
        Text("Something in the basket is no longer sold.", "Щось із кошика більше не продається."),
    )
    OUT_OF_STOCK = (
        "out_of_stock",
        Text(
            "Somebody was faster: there is not enough left of what you ordered.",
            "Хтось був швидший: замовленого залишилося замало.",
        ),
    )
    PRICE_CHANGED = (
        "price_changed",
        Text("A price has changed since you saw it.", "Ціна змінилася, відколи ви її бачили."),
    )
    CANCELLED_BY_CUSTOMER = (
        "cancelled_by_customer",
        Text("You have cancelled this order.", "Ви скасували це замовлення."),
    )
    REJECTED_BY_OPERATOR = (
        "rejected_by_operator",
        Text(
            "Somebody in the shop has looked at it and could not let it through.",
            "У крамниці розглянули замовлення і не змогли його прийняти.",
        ),
    )


LINKS = {
    "payment": LinkWords(
        title=Text("Payment", "Оплата"),
        customer=Text("Payment", "Оплата"),
        doing=Text("Checking your payment", "Перевіряємо оплату"),
        done=Text("Payment checked.", "Оплату перевірено."),
        undone=Text("Money given back.", "Гроші повернено."),
        icon="card",
    ),
    "settlement": LinkWords(title=Text("Settlement", "Зарахування")),
    "cart": LinkWords(
        title=Text("Cart", "Кошик"),
        customer=Text("Stock", "Наявність"),
        doing=Text("Checking stock", "Перевіряємо наявність"),
        done=Text("Stock reserved.", "Товар зарезервовано."),
        undone=Text("Stock put back.", "Резерв знято."),
        icon="box",
    ),
    "price": LinkWords(
        title=Text("Price", "Ціна"),
        customer=Text("Price", "Ціна"),
        doing=Text("Checking the price", "Перевіряємо ціну"),
        done=Text("Price confirmed.", "Ціну підтверджено."),
        icon="tag",
    ),
    "finalize": LinkWords(
        title=Text("Finalize", "Завершення"),
        customer=Text("Finalising", "Завершення"),
        doing=Text("Finishing your order", "Завершуємо замовлення"),
        done=Text("Order finalised.", "Замовлення завершено."),
        icon="page",
    ),
    "release": LinkWords(title=Text("Release stock", "Зняти резерв"), icon="box"),
    "refund": LinkWords(title=Text("Refund", "Повернення"), icon="card"),
    "reject": LinkWords(title=Text("Reject", "Відмова"), icon="page"),
    "late-refund": LinkWords(title=Text("Refund late money", "Повернення запізнілих грошей"), icon="card"),
}

EVENTS = {
    "OrderReceived": Text("Received", "Отримано"),
    "PaymentPending": Text("Payment is pending", "Платіж очікується"),
    "PaymentConfirmed": Text("Payment confirmed", "Платіж підтверджено"),
    "PaymentDeclined": Text("Payment refused", "Платіж відхилено"),
    "StockReserved": Text("Stock reserved", "Товар зарезервовано"),
    "CartUnavailable": Text("Not in stock", "Немає в наявності"),
    "PriceConfirmed": Text("Price confirmed", "Ціну підтверджено"),
    "PriceChanged": Text("Price has changed", "Ціна змінилася"),
    "CartConfirmed": Text("All checks passed", "Усі перевірки пройдено"),
    "OrderConfirmed": Text("Confirmed", "Підтверджено"),
    "OrderRejected": Text("Rejected", "Відхилено"),
    "OrderCancelled": Text("Cancelled", "Скасовано"),
    "OrderWithdrawn": Text("Taken back", "Відкликано"),
    "OrderParked": Text("Parked", "Відкладено"),
    "OrderReleased": Text("Released", "Відпущено"),
    "StockReleased": Text("Stock released", "Резерв знято"),
    "PaymentRefunded": Text("Money given back", "Гроші повернено"),
    "PaymentArrivedLate": Text("Money arrived late", "Гроші надійшли запізно"),
}

WORDS = Words(
    title=Text("Orders", "Замовлення"),
    subject=Text("order", "замовлення"),
    subjects=Text("orders", "замовлення"),
    links=LINKS,
    events=EVENTS,
    statuses=Status.all_words(),
    reasons=Reason.all_words(),
)
