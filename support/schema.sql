-- The support chain: who can help, who is calling, and who is connected to whom.

CREATE TABLE operators (
    operator_id text PRIMARY KEY,
    name        text NOT NULL,
    languages   text[] NOT NULL,
    skills      text[] NOT NULL,
    available   boolean NOT NULL
);

CREATE TABLE calls (
    call_id     text PRIMARY KEY REFERENCES subjects,
    customer_id text NOT NULL,
    language    text NOT NULL,
    skill       text NOT NULL,
    operator_id text REFERENCES operators,
    assigned_at timestamptz,
    ended_at    timestamptz,
    CHECK ((operator_id IS NULL) = (assigned_at IS NULL))
);
CREATE INDEX calls_waiting ON calls (call_id) WHERE operator_id IS NULL AND ended_at IS NULL;
CREATE UNIQUE INDEX one_call_for_one_operator ON calls (operator_id)
    WHERE operator_id IS NOT NULL AND ended_at IS NULL;
CREATE INDEX calls_open ON calls (call_id) WHERE ended_at IS NULL;
CREATE INDEX calls_by_operator ON calls (operator_id, assigned_at);
