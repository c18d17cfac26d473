"""Any event, from any producer: published with the data it belongs to, and delivered to its chain."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE routes (  -- which chain takes an event from outside; kept true by the API from the routing tables
        type   text PRIMARY KEY,
        chain  text NOT NULL,
        starts boolean NOT NULL,  -- whether a subject begins with it
        status text,              -- where the subject stands once it is journalled
        ends   boolean NOT NULL
    )
    """,
    """
    CREATE TABLE messages (  -- for the workflow of a subject: an event that followed the first, or (no id) just news
        position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subject      text NOT NULL,
        source       text,
        id           text,
        delivered_at timestamptz,
        CHECK ((source IS NULL) = (id IS NULL))
    )
    """,
    "CREATE INDEX messages_undelivered ON messages (position) WHERE delivered_at IS NULL",
    # Within the transaction of whoever calls it. False: this event (source and id) was published before.
    """
    CREATE FUNCTION publish(
        source text, id text, type text, subject text, "time" timestamptz, data jsonb
    ) RETURNS boolean LANGUAGE plpgsql AS $$
    #variable_conflict use_variable
    DECLARE
        route routes;
        began boolean := false;
    BEGIN
        SELECT * INTO route FROM routes WHERE routes.type = publish.type;
        IF route IS NULL THEN
            RAISE EXCEPTION 'no chain takes events of type %', publish.type USING ERRCODE = 'LK001';
        END IF;
        IF publish.source LIKE '/lanka/%' THEN
            RAISE EXCEPTION 'the source % is one of our own', publish.source USING ERRCODE = 'LK002';
        END IF;
        INSERT INTO journal (source, id, type, subject, time, data)
        VALUES (publish.source, publish.id, publish.type, publish.subject, publish.time, publish.data)
        ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        IF route.starts THEN
            INSERT INTO subjects (subject, chain, status, received_at)
            VALUES (publish.subject, route.chain, coalesce(route.status, 'received'), now())
            ON CONFLICT DO NOTHING;
            began := FOUND;
        END IF;
        IF NOT began THEN
            IF EXISTS (SELECT FROM subjects WHERE subjects.subject = publish.subject AND chain <> route.chain) THEN
                RAISE EXCEPTION 'the subject % belongs to another chain', publish.subject USING ERRCODE = 'LK003';
            END IF;
            INSERT INTO messages (subject, source, id) VALUES (publish.subject, publish.source, publish.id);
            UPDATE subjects
            SET status = coalesce(route.status, subjects.status), ended_at = CASE WHEN route.ends THEN now() END
            WHERE subjects.subject = publish.subject AND subjects.ended_at IS NULL AND NOT route.starts;
        END IF;
        PERFORM pg_notify('lanka_accepted', '');
        RETURN true;
    END $$
    """,
    # Each subject with the event that it began with, even if one that follows was told first.
    """
    CREATE OR REPLACE VIEW intake AS
    SELECT subjects.position, subjects.chain, subjects.workflow_id, subjects.taken_at, subjects.dispatched_at,
           first.source, first.id, first.type, first.subject, first.time, first.data
    FROM subjects
    CROSS JOIN LATERAL (
        SELECT journal.* FROM journal LEFT JOIN routes USING (type)
        WHERE journal.subject = subjects.subject AND routes.starts IS NOT FALSE
        ORDER BY journal.position LIMIT 1
    ) AS first
    """,
    """
    CREATE TABLE event_outbox (  -- an application inserts here, in the transaction of its own data
        source  text NOT NULL CHECK (length(source) BETWEEN 1 AND 255),
        id      text NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
        type    text NOT NULL,
        subject text NOT NULL CHECK (subject ~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$'),
        time    timestamptz NOT NULL DEFAULT now() CHECK (time >= '1970-01-01Z' AND time < '9999-01-01Z'),
        data    jsonb NOT NULL DEFAULT '{}' CHECK (  -- what Temporal and Python's JSON can carry
            jsonb_typeof(data) = 'object' AND octet_length(data::text) <= 262144
            AND NOT jsonb_path_exists(data, '$.**{100}')
            AND NOT jsonb_path_exists(data, '$.** ? (@ > 1e300 || @ < -1e300)')
        ),
        PRIMARY KEY (source, id)
    )
    """,
    # With the rights of its owner: the application may insert into event_outbox and touch nothing else. Hence the
    # fixed search path, in which nobody can put a table of their own before ours.
    """
    CREATE FUNCTION publish_from_outbox() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        PERFORM public.publish(NEW.source, NEW.id, NEW.type, NEW.subject, NEW.time, NEW.data);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER event_outbox_publishes AFTER INSERT ON event_outbox
    FOR EACH ROW EXECUTE FUNCTION publish_from_outbox()
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
