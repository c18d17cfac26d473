"""What everything about an order is called, for a customer and for an operator, in every language side by side."""

from chain.words import LinkWords, Text, Worded, Words


class Status(Worded):
    """Where an order stands."""

    RECEIVED = "received", Text("Received", "Отримано")
    PROCESSING = "processing", Text("In progress", "В обробці")
    AWAITING_PAYMENT = "awaiting_payment", Text("Awaiting payment", "Чекає на оплату")
    PARKED = "parked", Text("Parked", "Відкладено")
    CONFIRMED = "confirmed", Text("Confirmed", "Підтверджено")
    REJECTED = "rejected", Text("Rejected", "Відхилено")
    CANCELLED = "cancelled", Text("Cancelled", "Скасовано")


class Reason(Worded):
    """Why an order was refused. The codes are stable; the sentences are what a customer reads."""

    PAYMENT_NOT_FOUND = (
        "payment_not_found",
        Text("We could not find your payment.", "Ми не знайшли вашого платежу."),
    )
    PAYMENT_DECLINED = (
        "payment_declined",
        Text("The payment was declined or is no longer valid.", "Платіж відхилено, або він уже не дійсний."),
    )
    PAYMENT_AMOUNT_MISMATCH = (
        "payment_amount_mismatch",
        Text("The amount paid is not the total of the order.", "Сплачена сума не збігається із сумою замовлення."),
    )
    PAYMENT_CURRENCY_MISMATCH = (
        "payment_currency_mismatch",
        Text(
            "The payment is in another currency than the order.", "Валюта платежу не збігається з валютою замовлення."
        ),
    )
    PAYMENT_ALREADY_USED = (
        "payment_already_used",
        Text("This payment was already used for another order.", "Цей платіж уже використано для іншого замовлення."),
    )
    PAYMENT_EXPIRED = (
        "payment_expired",
        Text("The reservation of your money ran out.", "Термін резервування ваших грошей минув."),
    )
    PAYMENT_TIMEOUT = (
        "payment_timeout",
        Text("Your bank did not confirm the payment in time.", "Ваш банк не підтвердив платіж вчасно."),
    )
    UNKNOWN_SKU = (
        "unknown_sku",
        Text("Something you ordered is no longer sold.", "Щось із замовленого більше не продається."),
    )
    OUT_OF_STOCK = (
        "out_of_stock",
        Text(
            "There is not enough left of what you ordered.",
            "Замовленого товару залишилося недостатньо.",
        ),
    )
    PRICE_CHANGED = (
        "price_changed",
        Text(
            "A price is not the one you saw: its amount or its currency is another.",
            "Ціна не та, яку ви бачили: інша сума або валюта.",
        ),
    )
    CANCELLED_BY_CUSTOMER = (
        "cancelled_by_customer",
        Text("It was cancelled before we had confirmed it.", "Його скасовано, перш ніж ми його підтвердили."),
    )
    REJECTED_BY_OPERATOR = (
        "rejected_by_operator",
        Text(
            "We looked at your order and could not accept it.",
            "Ми розглянули ваше замовлення і не змогли його прийняти.",
        ),
    )


LINKS = {
    "payment": LinkWords(
        title=Text("Payment", "Оплата"),
        customer=Text("Payment", "Оплата"),
        doing=Text("Checking your payment", "Перевіряємо оплату"),
        done=Text("Payment checked.", "Оплату перевірено."),
        undone=Text("Payment undone.", "Оплату скасовано."),
        icon="card",
    ),
    "settlement": LinkWords(title=Text("Settlement", "Зарахування")),
    "cart": LinkWords(
        title=Text("Cart", "Кошик"),
        customer=Text("Stock", "Наявність"),
        doing=Text("Checking stock", "Перевіряємо наявність"),
        done=Text("Stock reserved.", "Товар зарезервовано."),
        undone=Text("Stock released.", "Товар знято з резерву."),
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
        customer=Text("Confirmation", "Підтвердження"),
        doing=Text("Confirming your order", "Підтверджуємо замовлення"),
        done=Text("Order completed.", "Замовлення завершено."),
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
    "PriceChanged": Text("Price differs", "Ціна інша"),
    "CartConfirmed": Text("All checks passed", "Усі перевірки пройдено"),
    "OrderConfirmed": Text("Confirmed", "Підтверджено"),
    "OrderRejected": Text("Rejected", "Відхилено"),
    "OrderCancelled": Text("Cancelled", "Скасовано"),
    "OrderWithdrawn": Text("Taken back", "Відкликано"),
    "OrderParked": Text("Parked", "Відкладено"),
    "OrderReleased": Text("Released", "Відпущено"),
    "StockReleased": Text("Stock released", "Резерв знято"),
    "PaymentRefunded": Text("Payment undone", "Оплату скасовано"),
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
