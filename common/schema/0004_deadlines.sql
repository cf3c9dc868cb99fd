-- migrate:up
-- Clocks as rows: the rules of a service, and its deadlines.

-- A rule as the law or the payer gives it. A service's migrations fill in the
-- rules of every agency (tenant_id nil); an agency's own row stands before
-- them. A rule that changes is a new row from another day on.
CREATE TABLE {{schema}}.clock_rule (
    tenant_id      uuid   NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    id             text   NOT NULL, -- C01
    effective_from date   NOT NULL,
    effective_to   date,            -- its last day
    name           text   NOT NULL,
    trigger        text   NOT NULL, -- the event that starts it
    starts         text[] NOT NULL, -- facts that it counts from: the latest one known
    amount         int    NOT NULL,
    unit           text   NOT NULL,
    opens_before   int,             -- so many days before its start, what meets it counts already
    ordered        text,            -- the fact of a date that stands in its place
    warn_minutes   int[]  NOT NULL, -- before it is due, the longest first
    told_by        text,            -- the service that tells what meets it; NULL: this one
    exceptions     text   NOT NULL DEFAULT '',
    citation       text   NOT NULL,
    states         text[] NOT NULL DEFAULT '{}', -- of the place of care; empty: all
    payers         text[] NOT NULL DEFAULT '{}', -- empty: all
    CONSTRAINT clock_rule_key PRIMARY KEY (tenant_id, id, effective_from),
    CONSTRAINT clock_rule_amount CHECK (amount >= 0),
    CONSTRAINT clock_rule_starts CHECK (cardinality(starts) BETWEEN 1 AND 4),
    CONSTRAINT clock_rule_warnings CHECK (cardinality(warn_minutes) <= 7),
    CONSTRAINT clock_rule_days CHECK (effective_to >= effective_from),
    CONSTRAINT clock_rule_unit CHECK (unit IN ('elapsed_hours', 'calendar_days', 'business_days'))
);

-- Days that are no business days, beside Saturdays and Sundays.
CREATE TABLE {{schema}}.clock_holiday (
    tenant_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    day       date NOT NULL,
    name      text NOT NULL,
    CONSTRAINT clock_holiday_key PRIMARY KEY (tenant_id, day)
);

-- One clock of one subject; it is never deleted. body is the sealed
-- cairn.deadlines.v1.Deadline, which holds its arithmetic and its warnings.
CREATE TABLE {{schema}}.deadline (
    tenant_id    uuid        NOT NULL,
    id           uuid        NOT NULL,
    subject_type text        NOT NULL,
    subject_id   uuid        NOT NULL,
    rule         text        NOT NULL,
    branch_id    uuid,
    patient_id   uuid        NOT NULL,
    state        text        NOT NULL,
    starts_at    timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    version      bigint      NOT NULL,
    event_seq    bigint      NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    body         bytea       NOT NULL,
    CONSTRAINT deadline_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT deadline_once UNIQUE (tenant_id, subject_type, subject_id, rule),
    CONSTRAINT deadline_state CHECK (state IN ('open', 'warned', 'met', 'breach_suspected', 'breached', 'cancelled'))
);
CREATE INDEX deadline_of_subject ON {{schema}}.deadline (tenant_id, subject_type, subject_id, created_at, id);

-- All that the producer committed before this instant is behind the position;
-- NULL: not known yet.
ALTER TABLE {{schema}}.inbox_position ADD COLUMN complete_until timestamptz;

ALTER TABLE {{schema}}.clock_rule ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.clock_rule FORCE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.clock_holiday ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.clock_holiday FORCE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.deadline ENABLE ROW LEVEL SECURITY;
ALTER TABLE {{schema}}.deadline FORCE ROW LEVEL SECURITY;

-- The relay keeps the rules of all in memory; nobody but a migration writes them.
CREATE POLICY relay ON {{schema}}.clock_rule FOR SELECT TO {{schema}}_relay USING (true);
CREATE POLICY relay ON {{schema}}.clock_holiday FOR SELECT TO {{schema}}_relay USING (true);
CREATE POLICY owner ON {{schema}}.clock_rule TO {{schema}}_owner USING (true);
CREATE POLICY owner ON {{schema}}.clock_holiday TO {{schema}}_owner USING (true);
CREATE POLICY tenant ON {{schema}}.deadline TO {{schema}}_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT ON {{schema}}.clock_rule, {{schema}}.clock_holiday TO {{schema}}_relay;
GRANT SELECT, INSERT, UPDATE ON {{schema}}.deadline TO {{schema}}_app;

-- migrate:down
ALTER TABLE {{schema}}.inbox_position DROP COLUMN complete_until;
DROP TABLE {{schema}}.deadline, {{schema}}.clock_holiday, {{schema}}.clock_rule;
