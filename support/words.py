"""What everything about a call is called, in every language side by side."""

from chain.words import LinkWords, Text, Worded, Words


class Status(Worded):
    """Where a call stands."""

    RECEIVED = "received", Text("Received", "Отримано")
    WAITING = "waiting", Text("Waiting for an operator", "Чекає на оператора")
    ASSIGNED = "assigned", Text("Connected", "З’єднано")
    PARKED = "parked", Text("Parked", "Відкладено")
    ENDED = "ended", Text("Ended", "Завершено")
    WITHDRAWN = "withdrawn", Text("Taken back", "Відкликано")


WORDS = Words(
    title=Text("Support", "Підтримка"),
    subject=Text("call", "дзвінок"),
    subjects=Text("calls", "дзвінки"),
    links={
        "assign": LinkWords(Text("Assign an operator", "Призначити оператора")),
        "waiting": LinkWords(Text("Waiting", "Очікування")),
        "free": LinkWords(Text("Free the operator", "Звільнити оператора")),
    },
    events={
        "SupportCallStarted": Text("Call started", "Дзвінок розпочато"),
        "CallerWaiting": Text("Nobody is free yet", "Поки ніхто не вільний"),
        "OperatorAssigned": Text("Operator assigned", "Оператора призначено"),
        "SupportCallEnded": Text("Call ended", "Дзвінок завершено"),
        "Parked": Text("Parked", "Відкладено"),
        "Released": Text("Released", "Відпущено"),
        "Withdrawn": Text("Taken back", "Відкликано"),
    },
    statuses=Status.all_words(),
    reasons={
        "cancelled_by_customer": Text("The caller has taken it back.", "Абонент відмовився."),
        "rejected_by_operator": Text(
            "Somebody has looked at it and taken it back.", "Дзвінок розглянули і відкликали."
        ),
    },
)
