"""The chain: subjects, journal, claims, orders, catalogue, stock, payments, keys."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    # ---- the chain: knows subjects and links, not orders -----------------------------------------------------
    """
    CREATE TABLE subjects (
        subject       text PRIMARY KEY CHECK (length(subject) BETWEEN 1 AND 64),
        chain         text NOT NULL,
        position      bigint GENERATED ALWAYS AS IDENTITY,  -- order of acceptance
        status        text NOT NULL,
        received_at   timestamptz NOT NULL,
        workflow_id   text,         -- which workflow carries it: written with the batch, before Temporal is told
        taken_at      timestamptz,  -- when the dispatcher put it into a batch
        dispatched_at timestamptz,  -- when Temporal had acknowledged the batch
        ended_at      timestamptz,  -- when its end event was journalled
        CHECK ((workflow_id IS NULL) = (taken_at IS NULL)),
        CHECK (dispatched_at IS NULL OR taken_at IS NOT NULL)
    )
    """,
    "CREATE INDEX subjects_waiting ON subjects (position) WHERE dispatched_at IS NULL",
    "CREATE INDEX subjects_open ON subjects (dispatched_at) WHERE ended_at IS NULL",
    "CREATE INDEX subjects_by_status ON subjects (status, subject)",
    "CREATE INDEX subjects_by_workflow ON subjects (workflow_id)",
    """
    CREATE TABLE journal (
        position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        source   text NOT NULL,
        id       text NOT NULL,
        type     text NOT NULL,
        subject  text NOT NULL,
        time     timestamptz NOT NULL,
        data     jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
        UNIQUE (source, id)  -- the lasting guard: an event is journalled once, whatever Temporal remembers
    )
    """,
    "CREATE INDEX journal_by_subject ON journal (subject, position)",
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
    END $$
    """,
    """
    CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE VIEW intake AS  -- each subject with the event that it began with
    SELECT subjects.position, subjects.chain, subjects.workflow_id, subjects.taken_at, subjects.dispatched_at,
           first.source, first.id, first.type, first.subject, first.time, first.data
    FROM subjects
    CROSS JOIN LATERAL (
        SELECT * FROM journal WHERE journal.subject = subjects.subject ORDER BY journal.position LIMIT 1
    ) AS first
    """,
    # A link works on a subject once: the key is inserted first, so that a second attempt waits here.
    "CREATE TABLE claims (subject text NOT NULL, link text NOT NULL, PRIMARY KEY (subject, link))",
    # ---- intake ----------------------------------------------------------------------------------------------
    """
    CREATE TABLE api_keys (
        hash       bytea PRIMARY KEY,  -- SHA-256; the keys are random, so no salt is needed
        scope      text NOT NULL CHECK (scope IN ('shop', 'operator')),
        created_at timestamptz NOT NULL DEFAULT now(),
        revoked_at timestamptz
    )
    """,
    """
    CREATE TABLE idempotency_keys (
        owner       text NOT NULL,   -- whose key it is: the scope and a short hash of the API key
        key         text NOT NULL,
        fingerprint bytea NOT NULL,  -- SHA-256 of the request in canonical JSON
        subject     text NOT NULL,
        created_at  timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (owner, key)
    )
    """,
    # ---- orders ----------------------------------------------------------------------------------------------
    "CREATE SEQUENCE order_numbers",
    """
    CREATE TABLE orders (
        order_id     text PRIMARY KEY REFERENCES subjects,
        customer_id  text NOT NULL,
        payment_id   text NOT NULL,
        currency     text NOT NULL,
        lines        jsonb NOT NULL,
        total        bigint NOT NULL CHECK (total > 0),
        received_at  timestamptz NOT NULL,
        order_number text UNIQUE
    )
    """,
    "CREATE INDEX orders_by_customer ON orders (customer_id, order_id)",
    "CREATE INDEX orders_by_payment ON orders (payment_id)",
    # ---- catalogue and stock ---------------------------------------------------------------------------------
    "CREATE TABLE catalogue (sku text PRIMARY KEY, name text NOT NULL)",
    """
    CREATE TABLE prices (  -- a price is valid from its time until the next one's
        sku        text NOT NULL REFERENCES catalogue,
        valid_from timestamptz NOT NULL,
        unit_price bigint NOT NULL CHECK (unit_price > 0),
        currency   text NOT NULL,
        PRIMARY KEY (sku, valid_from)
    )
    """,
    """
    CREATE TABLE stock (
        sku      text PRIMARY KEY REFERENCES catalogue,
        on_hand  bigint NOT NULL CHECK (on_hand >= 0),
        reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
        CONSTRAINT never_more_than_there_is CHECK (reserved <= on_hand)
    )
    """,
    """
    CREATE TABLE reservations (
        order_id text NOT NULL REFERENCES orders,
        sku      text NOT NULL REFERENCES stock,
        quantity bigint NOT NULL CHECK (quantity > 0),
        state    text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'sold', 'released')),
        PRIMARY KEY (order_id, sku)
    )
    """,
    "CREATE INDEX reservations_held ON reservations (sku) WHERE state = 'held'",
    # ---- payments --------------------------------------------------------------------------------------------
    """
    CREATE TABLE payments (
        provider   text NOT NULL,
        payment_id text NOT NULL,
        order_id   text NOT NULL REFERENCES orders,
        amount     bigint NOT NULL CHECK (amount >= 0),
        currency   text NOT NULL,
        state      text NOT NULL CHECK (state IN ('held', 'captured', 'refunded')),
        CONSTRAINT one_payment_serves_one_order PRIMARY KEY (provider, payment_id),
        CONSTRAINT one_order_has_one_payment UNIQUE (order_id)
    )
    """,
    # ---- outgoing --------------------------------------------------------------------------------------------
    """
    CREATE TABLE outbox (  -- what customers and shops are to be told, written with the end of the order
        position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subject      text NOT NULL,
        type         text NOT NULL,
        data         jsonb NOT NULL,
        created_at   timestamptz NOT NULL DEFAULT now(),
        delivered_at timestamptz,
        UNIQUE (subject, type)
    )
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
