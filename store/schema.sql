-- The whole schema, from top to bottom. One migration executes it (migrations/versions/0001_baseline.py).
-- A chain that needs tables of its own brings a schema.sql beside its package's __init__ (see chain_schemas, below).

-- ==== 1. Where a subject stands =====================================================================================
--
-- A subject is what a chain is about: an order, a call. It goes through these states, each told by two columns:
--
--   accepted    taken_at IS NULL         waits for the dispatcher, in the order of `position`
--   taken       dispatched_at IS NULL    in a batch with a workflow id; Temporal may have been told of it, or not yet
--   dispatched  ended_at IS NULL         Temporal has acknowledged the batch
--   ended       ended_at IS NOT NULL     its end is in the journal; nothing moves it any more
--
-- A lost workflow leads from `dispatched` back to `taken`, with the same workflow id and version. `at_rest` is said of a
-- dispatched one whose workflow has completed without an end, in a chain where that is no loss.

-- What an id from outside may be (see Identifier in chain/subject.py), spelled out: classes depend on the locale.
CREATE FUNCTION is_identifier(id text) RETURNS boolean LANGUAGE sql IMMUTABLE
    RETURN length(id) BETWEEN 1 AND 128 AND id NOT IN ('.', '..') AND id !~ '[\u0001-\u001f\u007f-\u009f]'
       AND id !~ '^[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]'
       AND id !~ '[ \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$';

CREATE TABLE subjects (
    subject       text PRIMARY KEY CHECK (length(subject) BETWEEN 1 AND 128),
    chain         text NOT NULL,
    position      bigint GENERATED ALWAYS AS IDENTITY,  -- order of acceptance
    status        text NOT NULL,            -- what the journal says: written by record_events() and nobody else
    version       integer CHECK (version > 0),  -- of the chain's table that it travels with, from when it is taken
    received_at   timestamptz NOT NULL,
    workflow_id   text,                     -- which workflow carries it: written before Temporal is told
    taken_at      timestamptz,
    dispatched_at timestamptz,
    ended_at      timestamptz,              -- written by record_events() and nobody else
    at_rest       boolean NOT NULL DEFAULT false,
    traceparent   text,                     -- W3C Trace Context; null where nothing is traced
    CHECK ((workflow_id IS NULL) = (taken_at IS NULL)),
    CHECK (dispatched_at IS NULL OR taken_at IS NOT NULL)
);
-- What waits and what was taken, but not marked, each found without reading the other.
CREATE INDEX subjects_waiting ON subjects (position) WHERE taken_at IS NULL;
CREATE INDEX subjects_taken ON subjects (position) WHERE taken_at IS NOT NULL AND dispatched_at IS NULL;
CREATE INDEX subjects_open ON subjects (dispatched_at) WHERE ended_at IS NULL;
CREATE INDEX subjects_by_status ON subjects (chain, status, subject);
CREATE INDEX subjects_by_workflow ON subjects (workflow_id) WHERE workflow_id IS NOT NULL;

-- What a reader is told: until an event says something else, a subject that Temporal knows of is being processed.
CREATE FUNCTION status_shown(status text, dispatched_at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN status = 'received' AND dispatched_at IS NOT NULL THEN 'processing' ELSE status END
$$;

-- ==== 2. The journal ================================================================================================

CREATE TABLE journal (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source   text NOT NULL,
    id       text NOT NULL,
    type     text NOT NULL,
    kind     text NOT NULL CHECK (kind IN (  -- what it means, whatever it is called: SQL asks for this (chain/event.py)
        'start', 'fact', 'pending', 'refusal', 'withdrawal', 'parked', 'released', 'late', 'end'
    )),
    subject  text NOT NULL,
    time     timestamptz NOT NULL,
    data     jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
    UNIQUE (source, id)  -- the lasting guard: an event is journalled once, whatever Temporal remembers
);
CREATE INDEX journal_by_subject ON journal (subject, position);
-- What does not go straight ahead: a subject that goes straight to its end has no entry here. Queries name the kinds as
-- literals: with a parameter PostgreSQL cannot know that this index will do.
CREATE INDEX journal_turns ON journal (subject, position)
    WHERE kind IN ('pending', 'refusal', 'withdrawal', 'parked');
CREATE INDEX journal_late ON journal (subject) WHERE kind = 'late';

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE ON journal
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The one writer of where a subject stands. Journals each event once, moves the subjects of those that are new, tells
-- whoever listens, and gives back which were new. Arrays of one length; a status is null where the event gives none.
--
-- The first end counts and nothing moves a subject after it; before, of several events of one subject the latest. Who
-- makes the row of a subject has put it where its start says, so a start moves nobody. An end that is told again counts
-- as well: it may have been published before there was a subject that it could end.
--
-- It is planned once in a session: planned at each call it costs twice as much, for each event of each order. Such a plan
-- is kept while the tables grow, so it must not read any from end to end.
CREATE FUNCTION record_events(
    sources text[], ids text[], types text[], kinds text[], statuses text[], subjects text[], times timestamptz[],
    datas jsonb[]
) RETURNS TABLE (source text, id text) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH given AS (
        SELECT * FROM unnest(sources, ids, types, kinds, statuses, subjects, times, datas)
            WITH ORDINALITY AS given (source, id, type, kind, status, subject, time, data, nth)
    ), fresh AS (
        INSERT INTO journal (source, id, type, kind, subject, time, data)
        SELECT source, id, type, kind, subject, time, data FROM given ORDER BY nth
        ON CONFLICT (source, id) DO NOTHING
        RETURNING source, id, subject
    ), moves AS (
        SELECT DISTINCT ON (given.subject) given.subject, status, kind = 'end' AS ends
        FROM given LEFT JOIN fresh USING (source, id)
        WHERE kind = 'end' OR (kind <> 'start' AND status IS NOT NULL AND fresh.source IS NOT NULL)
        ORDER BY given.subject, kind = 'end' DESC, CASE WHEN kind = 'end' THEN nth ELSE -nth END
    ), moved AS (
        UPDATE subjects
        SET status = coalesce(moves.status, subjects.status), ended_at = CASE WHEN ends THEN now() END
        FROM moves
        WHERE subjects.subject = moves.subject
          AND (ends OR status_shown(subjects.status, dispatched_at) <> moves.status)  -- what is shown already is not written
          AND coalesce(ended_at, 'infinity') = 'infinity'  -- open; said so that no index of all that are open is read
    ), told AS MATERIALIZED (  -- once, not for each row; a payload holds less than 8000 bytes
        SELECT pg_notify('lanka_journal', CASE WHEN octet_length(names) < 8000 THEN names ELSE '' END)
        FROM (SELECT json_agg(DISTINCT subject)::text AS names FROM fresh HAVING count(*) > 0) AS news
    )
    SELECT fresh.source, fresh.id FROM fresh WHERE (SELECT count(*) FROM told) = 1;
END $$;

-- A link works on a subject once, or once on each event of it (`event` is that event's id, else empty). The key is
-- inserted first, so that a second attempt waits here. `attempts` is null where it was the first, which takes no room.
CREATE TABLE claims (
    subject  text NOT NULL,
    link     text NOT NULL,
    event    text NOT NULL DEFAULT '',
    attempts integer CHECK (attempts > 1),
    PRIMARY KEY (subject, link, event)
);

-- What waits for a person: each parking by itself, until its own release, or until its subject was taken back or ended.
CREATE VIEW parkings AS
SELECT subject, position, source, id, type, time, data
FROM journal AS parked
WHERE kind = 'parked'
  AND NOT EXISTS (
      SELECT FROM journal AS released
      WHERE released.source = parked.source AND released.id = parked.id || '.released'
  )
  AND NOT EXISTS (
      SELECT FROM journal AS later
      WHERE later.subject = parked.subject AND later.position > parked.position
        AND later.kind IN ('withdrawal', 'end')
  );

-- What came after the end of a subject of this chain and is not answered yet by all of these links.
CREATE FUNCTION late_events(chain text, links text[]) RETURNS SETOF journal LANGUAGE sql STABLE AS $$
    SELECT * FROM journal AS late
    WHERE kind = 'late' AND EXISTS (
        SELECT FROM subjects WHERE subjects.subject = late.subject AND subjects.chain = late_events.chain
    ) AND EXISTS (
        SELECT FROM unnest(links) AS wanted (link)
        WHERE NOT EXISTS (
            SELECT FROM claims
            WHERE claims.subject = late.subject AND claims.link = wanted.link AND claims.event IN ('', late.id)
        )
    )
$$;

-- ==== 3. What comes from outside ====================================================================================

CREATE TABLE routes (  -- which chain takes an event from outside; kept true by the API from the tables of the chains
    type   text PRIMARY KEY,
    chain  text NOT NULL,
    kind   text NOT NULL,
    status text  -- where the subject stands once it is journalled
);

CREATE TABLE messages (  -- for the workflow of a subject: an event that followed the first, or (no id) just news
    position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject      text NOT NULL,
    source       text,
    id           text,
    delivered_at timestamptz,
    CHECK ((source IS NULL) = (id IS NULL))
);
CREATE INDEX messages_undelivered ON messages (position) WHERE delivered_at IS NULL;
CREATE INDEX messages_by_subject ON messages (subject);

CREATE VIEW intake AS  -- each subject with the event that it began with, even if one that follows was told first
SELECT subjects.position, subjects.chain, subjects.workflow_id, subjects.version, subjects.taken_at,
       subjects.dispatched_at, subjects.ended_at, first.source, first.id, first.type, subjects.subject, first.time,
       first.data
FROM subjects
CROSS JOIN LATERAL (
    SELECT * FROM journal WHERE journal.subject = subjects.subject AND kind = 'start' ORDER BY journal.position LIMIT 1
) AS first;

-- Within the transaction of whoever calls it. False: this event (source and id) was published before. Other content
-- under a known source and id would vanish, so that is an error; a time that is left out (null) is not compared.
CREATE FUNCTION publish(
    source text, id text, type text, subject text, "time" timestamptz, data jsonb
) RETURNS boolean LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    route routes;
    began boolean := false;
    known journal;
BEGIN
    SELECT * INTO route FROM routes WHERE routes.type = publish.type;
    IF route IS NULL THEN
        RAISE EXCEPTION 'no chain takes events of type %', publish.type USING ERRCODE = 'LK001';
    END IF;
    IF publish.source LIKE '/lanka/%' THEN
        RAISE EXCEPTION 'the source % is one of our own', publish.source USING ERRCODE = 'LK002';
    END IF;
    PERFORM FROM record_events(
        ARRAY[publish.source], ARRAY[publish.id], ARRAY[publish.type], ARRAY[route.kind], ARRAY[route.status],
        ARRAY[publish.subject], ARRAY[coalesce(publish.time, now())], ARRAY[publish.data]
    );
    IF NOT FOUND THEN
        SELECT * INTO known FROM journal WHERE journal.source = publish.source AND journal.id = publish.id;
        IF (known.type, known.subject, known.data, known.time)
            <> (publish.type, publish.subject, publish.data, coalesce(publish.time, known.time)) THEN
            RAISE EXCEPTION 'the event % of the source % was published before with other content',
                publish.id, publish.source USING ERRCODE = 'LK004';
        END IF;
        RETURN false;
    END IF;
    IF route.kind = 'start' THEN
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
    END IF;
    PERFORM pg_notify('lanka_accepted', '');
    RETURN true;
END $$;

CREATE TABLE event_outbox (  -- an application inserts here, in the transaction of its own data
    source  text NOT NULL CHECK (length(source) BETWEEN 1 AND 255),
    id      text NOT NULL CHECK (length(id) BETWEEN 1 AND 255),
    type    text NOT NULL,
    subject text NOT NULL CHECK (is_identifier(subject)),
    time    timestamptz NOT NULL DEFAULT now() CHECK (time >= '1970-01-01Z' AND time < '9999-01-01Z'),
    data    jsonb NOT NULL DEFAULT '{}' CHECK (  -- what Temporal and Python's JSON can carry
        jsonb_typeof(data) = 'object' AND octet_length(data::text) <= 262144
        AND NOT jsonb_path_exists(data, '$.**{100}')
        AND NOT jsonb_path_exists(data, '$.** ? (@ > 1e300 || @ < -1e300)')
    ),
    PRIMARY KEY (source, id)
);

-- With the rights of its owner: the application may insert into event_outbox and touch nothing else. Hence the fixed
-- search path, in which nobody can put a table of their own before ours. Before the row and not after it: so it is asked
-- for a row as well that ON CONFLICT DO NOTHING then skips, and one with other content fails instead of vanishing.
-- A time of this very transaction is the default: it was left out.
CREATE FUNCTION publish_from_outbox() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    PERFORM public.publish(NEW.source, NEW.id, NEW.type, NEW.subject, nullif(NEW.time, now()), NEW.data);
    RETURN NEW;
END $$;
CREATE TRIGGER event_outbox_publishes BEFORE INSERT ON event_outbox
    FOR EACH ROW EXECUTE FUNCTION publish_from_outbox();

CREATE TABLE webhooks (  -- of payment providers: stored before they are answered, worked off by the dispatcher
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider    text NOT NULL,
    webhook_id  text NOT NULL,
    payment_id  text NOT NULL,
    status      text,            -- of the payment, as the webhook says
    body        bytea NOT NULL,  -- as it came: jsonb could not hold all that JSON can
    received_at timestamptz NOT NULL DEFAULT now(),
    look_at     timestamptz NOT NULL DEFAULT now(),  -- again, while nothing can be done
    handled_at  timestamptz,
    UNIQUE (provider, webhook_id)  -- a webhook that comes again is the same webhook
);
CREATE INDEX webhooks_unhandled ON webhooks (look_at) WHERE handled_at IS NULL;
CREATE INDEX webhooks_by_payment ON webhooks (payment_id);

-- ==== 4. Who may ==============================================================================================

CREATE TABLE api_keys (
    hash       bytea PRIMARY KEY,  -- SHA-256; the keys are random, so no salt is needed
    id         text NOT NULL UNIQUE DEFAULT 'key_' || left(replace(gen_random_uuid()::text, '-', ''), 12),  -- public
    scope      text NOT NULL CHECK (scope IN ('shop', 'operator')),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE sessions (  -- of people at a browser: customers in the shop, operators at the console
    hash        bytea PRIMARY KEY,  -- SHA-256 of the cookie
    customer_id text,
    key_hash    bytea REFERENCES api_keys,  -- the operator's key that began it: revoked, it ends the session
    expires_at  timestamptz NOT NULL,
    CHECK (num_nonnulls(customer_id, key_hash) = 1)
);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE idempotency_keys (
    owner       text NOT NULL,   -- whose key it is: the name of the caller
    key         text NOT NULL,
    fingerprint bytea NOT NULL,  -- SHA-256 of the request in canonical JSON
    subject     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);

-- ==== 5. The shop ===================================================================================================

CREATE SEQUENCE order_numbers;
CREATE TABLE orders (
    order_id     text PRIMARY KEY REFERENCES subjects,
    customer_id  text NOT NULL,
    payment_id   text NOT NULL,
    currency     text NOT NULL,
    lines        jsonb NOT NULL,
    total        bigint NOT NULL CHECK (total > 0),
    received_at  timestamptz NOT NULL,
    order_number text UNIQUE
);
CREATE INDEX orders_by_customer ON orders (customer_id, order_id);
CREATE INDEX orders_by_payment ON orders (payment_id);

CREATE TABLE catalogue (sku text PRIMARY KEY, name text NOT NULL);

CREATE TABLE prices (  -- a price is valid from its time until the next one's
    sku        text NOT NULL REFERENCES catalogue,
    valid_from timestamptz NOT NULL,
    unit_price bigint NOT NULL CHECK (unit_price > 0),
    currency   text NOT NULL,
    PRIMARY KEY (sku, valid_from)
);

CREATE FUNCTION price_at(wanted text, moment timestamptz) RETURNS TABLE (unit_price bigint, currency text)
LANGUAGE sql STABLE AS $$
    SELECT unit_price, currency FROM prices WHERE sku = wanted AND valid_from <= moment ORDER BY valid_from DESC LIMIT 1
$$;

CREATE TABLE stock (
    sku      text PRIMARY KEY REFERENCES catalogue,
    on_hand  bigint NOT NULL CHECK (on_hand >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    CONSTRAINT never_more_than_there_is CHECK (reserved <= on_hand)
);

CREATE TABLE reservations (
    order_id text NOT NULL REFERENCES orders,
    sku      text NOT NULL REFERENCES stock,
    quantity bigint NOT NULL CHECK (quantity > 0),
    state    text NOT NULL DEFAULT 'held' CHECK (state IN ('held', 'sold', 'released')),
    PRIMARY KEY (order_id, sku)
);
CREATE INDEX reservations_held ON reservations (sku) WHERE state = 'held';

CREATE TABLE payments (
    provider   text NOT NULL,
    payment_id text NOT NULL,
    order_id   text NOT NULL REFERENCES orders,
    amount     bigint NOT NULL CHECK (amount >= 0),
    currency   text NOT NULL,
    state      text NOT NULL CHECK (state IN ('held', 'captured', 'refunded')),
    CONSTRAINT one_payment_serves_one_order PRIMARY KEY (provider, payment_id),
    CONSTRAINT one_order_has_one_payment UNIQUE (order_id)
);

CREATE TABLE outbox (  -- what customers and shops are to be told, written with the end of the order
    position     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subject      text NOT NULL,
    type         text NOT NULL,
    data         jsonb NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    UNIQUE (subject, type)
);

-- ==== 6. What is counted and compared ===============================================================================

CREATE TABLE link_hours (  -- the journal counted, some seconds behind it: no subject waits for that
    hour   timestamptz NOT NULL,
    chain  text NOT NULL,
    link   text NOT NULL,  -- `*`: the whole way of a subject, from its start to its end
    type   text NOT NULL,
    reason text NOT NULL,
    bucket smallint NOT NULL,  -- how long the subject was at the link (see funnel.py); -1: it began there
    events bigint NOT NULL,
    PRIMARY KEY (hour, chain, link, type, reason, bucket)
);

CREATE TABLE link_hours_progress (
    sole    boolean PRIMARY KEY DEFAULT true CHECK (sole),
    counted bigint NOT NULL DEFAULT 0,  -- position in the journal up to which all is in link_hours
    closing bigint NOT NULL DEFAULT 0,  -- up to here nothing comes any more once all before `xact` have ended
    xact    xid8 NOT NULL DEFAULT '0',
    seen    bigint NOT NULL DEFAULT 0,  -- the newest position at the last step
    at      timestamptz NOT NULL DEFAULT now()
);
INSERT INTO link_hours_progress DEFAULT VALUES;

CREATE TABLE reconciliations (  -- what each comparison of provider, orders, journal and stock has found
    position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    checked     jsonb NOT NULL,  -- how many payments, orders, events and SKUs were compared
    total       bigint NOT NULL,
    findings    jsonb NOT NULL   -- the first of them
);

CREATE UNLOGGED TABLE link_failures (  -- what each worker fails at and tries again, at each link what most subjects meet
    worker   text NOT NULL,
    chain    text NOT NULL,
    link     text NOT NULL,
    kind     text NOT NULL,         -- of failure, see activities/failures.py
    error    text NOT NULL,
    subjects integer NOT NULL,
    since    timestamptz NOT NULL,
    until    timestamptz NOT NULL,  -- by then it has been tried again; if nobody has said so, nobody tries it any more
    PRIMARY KEY (worker, chain, link)
);

-- ==== 7. Chains with tables of their own ============================================================================

CREATE TABLE chain_schemas (  -- whose schema.sql has been executed here, once
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);
