-- migrate:up
-- Clinicians and visits; copies of what referrals and access tell. A row holds
-- what is queried and constrained; the resource is the sealed message in body.
CREATE TABLE scheduling.clinician (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL,
    branch_id  uuid,
    discipline text        NOT NULL
        CONSTRAINT clinician_discipline CHECK (discipline IN ('rn', 'pt', 'ot', 'slp', 'msw', 'aide')),
    version    bigint      NOT NULL,
    event_seq  bigint      NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    body       bytea       NOT NULL,
    CONSTRAINT clinician_key PRIMARY KEY (tenant_id, id)
);
CREATE INDEX clinician_by_discipline ON scheduling.clinician (tenant_id, discipline, created_at, id);
CREATE INDEX clinician_order ON scheduling.clinician (tenant_id, created_at, id);

-- What a referral and its patient need, copied from their events.
CREATE TABLE scheduling.need (
    tenant_id  uuid   NOT NULL,
    id         uuid   NOT NULL, -- of the referral
    patient_id uuid   NOT NULL,
    event_seq  bigint NOT NULL, -- of the referral's last event applied
    body       bytea  NOT NULL, -- sealed scheduling.v1.Need
    CONSTRAINT need_key PRIMARY KEY (tenant_id, id)
);
CREATE INDEX need_by_patient ON scheduling.need (tenant_id, patient_id, id);

-- Zones and settings of agencies and branches, copied from access.
CREATE TABLE scheduling.agency (
    tenant_id     uuid    NOT NULL,
    event_seq     bigint  NOT NULL,
    time_zone     text    NOT NULL,
    auto_book_soc boolean NOT NULL,
    CONSTRAINT agency_key PRIMARY KEY (tenant_id)
);
CREATE TABLE scheduling.branch (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    event_seq bigint NOT NULL,
    time_zone text   NOT NULL,
    CONSTRAINT branch_key PRIMARY KEY (tenant_id, id)
);

CREATE TABLE scheduling.visit (
    tenant_id    uuid        NOT NULL,
    id           uuid        NOT NULL,
    branch_id    uuid,
    referral_id  uuid        NOT NULL,
    patient_id   uuid        NOT NULL,
    clinician_id uuid,
    kind         text        NOT NULL
        CONSTRAINT visit_kind CHECK (kind IN ('soc', 'routine', 'recert', 'roc', 'discharge')),
    status       text        NOT NULL
        CONSTRAINT visit_status CHECK (status IN ('required', 'offered', 'waitlisted', 'booked', 'confirmed', 'rescheduled',
            'declined_by_clinician', 'in_progress', 'completed', 'attempted_not_home', 'missed', 'cancelled')),
    starts_at    timestamptz,
    ends_at      timestamptz,
    busy_until   timestamptz, -- ends_at and a quarter of an hour to get on
    sort_at      timestamptz NOT NULL, -- starts_at, else due, else created
    version      bigint      NOT NULL,
    event_seq    bigint      NOT NULL,
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    body         bytea       NOT NULL,
    CONSTRAINT visit_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT visit_clinician FOREIGN KEY (tenant_id, clinician_id)
        REFERENCES scheduling.clinician (tenant_id, id),
    CONSTRAINT visit_time CHECK (starts_at < ends_at),
    CONSTRAINT visit_booked_is_whole CHECK (status NOT IN ('booked', 'confirmed', 'in_progress', 'completed')
        OR (clinician_id IS NOT NULL AND starts_at IS NOT NULL AND ends_at IS NOT NULL AND busy_until IS NOT NULL)),
    -- A clinician is at one place at a time, the way to the next home included.
    CONSTRAINT visit_overlap EXCLUDE USING gist (tenant_id WITH =, clinician_id WITH =,
        tstzrange(starts_at, busy_until) WITH &&)
        WHERE (status IN ('booked', 'confirmed', 'in_progress', 'completed'))
);
-- One start of care per referral, wanted or made.
CREATE UNIQUE INDEX visit_one_soc ON scheduling.visit (tenant_id, referral_id)
    WHERE kind = 'soc' AND status IN ('required', 'offered', 'waitlisted', 'booked', 'confirmed', 'in_progress', 'completed');
CREATE INDEX visit_order ON scheduling.visit (tenant_id, sort_at, id);
CREATE INDEX visit_by_status ON scheduling.visit (tenant_id, status, sort_at, id);
CREATE INDEX visit_by_referral ON scheduling.visit (tenant_id, referral_id, sort_at, id);
CREATE INDEX visit_by_patient ON scheduling.visit (tenant_id, patient_id, sort_at, id);
CREATE INDEX visit_by_clinician ON scheduling.visit (tenant_id, clinician_id, sort_at, id);

ALTER TABLE scheduling.clinician ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.clinician FORCE ROW LEVEL SECURITY;
ALTER TABLE scheduling.need ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.need FORCE ROW LEVEL SECURITY;
ALTER TABLE scheduling.agency ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.agency FORCE ROW LEVEL SECURITY;
ALTER TABLE scheduling.branch ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.branch FORCE ROW LEVEL SECURITY;
ALTER TABLE scheduling.visit ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.visit FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON scheduling.clinician TO scheduling_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON scheduling.need TO scheduling_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON scheduling.agency TO scheduling_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON scheduling.branch TO scheduling_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON scheduling.visit TO scheduling_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE ON scheduling.clinician, scheduling.need, scheduling.agency, scheduling.branch,
    scheduling.visit TO scheduling_app;

-- migrate:down
DROP TABLE scheduling.visit, scheduling.branch, scheduling.agency, scheduling.need, scheduling.clinician;
