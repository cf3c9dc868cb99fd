-- migrate:up
-- What becomes of a dead letter: an operator has it tried again, with what waits
-- behind it, or gives it up. The row stays as the record of that.
ALTER TABLE {{schema}}.dead_letter
    ADD COLUMN status text NOT NULL DEFAULT 'dead',
    ADD COLUMN decided_by text,
    ADD COLUMN decided_at timestamptz,
    ADD COLUMN reason bytea, -- sealed: somebody's own words
    ADD COLUMN claimed_until timestamptz,
    ADD CONSTRAINT dead_letter_status CHECK (status IN ('dead', 'retrying', 'done', 'discarded'));
-- What blocks its aggregate, in the order in which it is to be tried.
DROP INDEX {{schema}}.dead_letter_aggregate;
CREATE INDEX dead_letter_open ON {{schema}}.dead_letter (tenant_id, producer, aggregate_type, aggregate_id, aggregate_seq)
    WHERE status IN ('dead', 'retrying');
CREATE INDEX dead_letter_list ON {{schema}}.dead_letter (tenant_id, created_at, event_id);
CREATE INDEX dead_letter_waiting ON {{schema}}.dead_letter (created_at) WHERE status IN ('dead', 'retrying');

CREATE POLICY tenant ON {{schema}}.dead_letter TO {{schema}}_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT ON {{schema}}.dead_letter TO {{schema}}_app;
GRANT UPDATE (status, decided_by, decided_at, reason) ON {{schema}}.dead_letter TO {{schema}}_app;
GRANT UPDATE (status, error, claimed_until) ON {{schema}}.dead_letter TO {{schema}}_relay;

-- migrate:down
DROP POLICY tenant ON {{schema}}.dead_letter;
DROP INDEX {{schema}}.dead_letter_open, {{schema}}.dead_letter_list, {{schema}}.dead_letter_waiting;
ALTER TABLE {{schema}}.dead_letter
    DROP COLUMN status, DROP COLUMN decided_by, DROP COLUMN decided_at, DROP COLUMN reason, DROP COLUMN claimed_until;
CREATE INDEX dead_letter_aggregate ON {{schema}}.dead_letter (tenant_id, producer, aggregate_type, aggregate_id);
