-- migrate:up
-- Patients, referrals, the messages they came in, episodes. A row holds what is
-- queried, constrained or sorted; the whole resource is the sealed protobuf
-- message in body.

-- Copy of access' branches: names and zones.
CREATE TABLE referrals.branch (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    name      text   NOT NULL,
    time_zone text   NOT NULL,
    event_seq bigint NOT NULL, -- of access' aggregate: older events change nothing
    CONSTRAINT branch_key PRIMARY KEY (tenant_id, id)
);

CREATE TABLE referrals.patient (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    branch_id   uuid        NOT NULL,
    version     bigint      NOT NULL,
    event_seq   bigint      NOT NULL,
    family_norm text        NOT NULL, -- for search: case, accents and marks off
    given_norm  text        NOT NULL,
    birth_date  date,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    body        bytea       NOT NULL,
    CONSTRAINT patient_key PRIMARY KEY (tenant_id, id)
);
CREATE INDEX patient_name ON referrals.patient (tenant_id, family_norm text_pattern_ops, id);

-- By what other systems know a patient. Social security numbers are not here:
-- they stand in the sealed body alone.
CREATE TABLE referrals.patient_identifier (
    tenant_id  uuid NOT NULL,
    system     text NOT NULL,
    value      text NOT NULL,
    patient_id uuid NOT NULL,
    CONSTRAINT patient_identifier_key PRIMARY KEY (tenant_id, system, value),
    CONSTRAINT patient_identifier_patient FOREIGN KEY (tenant_id, patient_id)
        REFERENCES referrals.patient (tenant_id, id)
);
CREATE INDEX patient_identifier_patient_id ON referrals.patient_identifier (tenant_id, patient_id);

CREATE TABLE referrals.referral (
    tenant_id          uuid        NOT NULL,
    id                 uuid        NOT NULL,
    branch_id          uuid        NOT NULL,
    patient_id         uuid        NOT NULL,
    status             text        NOT NULL,
    version            bigint      NOT NULL,
    event_seq          bigint      NOT NULL,
    received_at        timestamptz NOT NULL,
    soc_due_at         timestamptz,
    sort_at            timestamptz NOT NULL GENERATED ALWAYS AS (coalesce(soc_due_at, received_at)) STORED,
    source_system      text,
    source_external_id text,
    content_hash       bytea       NOT NULL, -- of what its sender sent
    created_at         timestamptz NOT NULL,
    updated_at         timestamptz NOT NULL,
    body               bytea       NOT NULL,
    CONSTRAINT referral_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT referral_patient FOREIGN KEY (tenant_id, patient_id)
        REFERENCES referrals.patient (tenant_id, id),
    CONSTRAINT referral_status CHECK (status IN
        ('captured', 'matching', 'incomplete', 'valid', 'verifying', 'review', 'accepted', 'declined',
         'soc_scheduled', 'admitted', 'not_admitted', 'withdrawn', 'closed')),
    CONSTRAINT referral_source_whole CHECK ((source_system IS NULL) = (source_external_id IS NULL))
);
-- One live referral per source and external id: races are settled here.
CREATE UNIQUE INDEX referral_source_external_id ON referrals.referral (tenant_id, source_system, source_external_id)
    WHERE source_external_id IS NOT NULL AND status NOT IN ('not_admitted', 'withdrawn', 'closed');
CREATE INDEX referral_worklist ON referrals.referral (tenant_id, status, sort_at, id);
CREATE INDEX referral_branch_worklist ON referrals.referral (tenant_id, branch_id, status, sort_at, id);
CREATE INDEX referral_of_patient ON referrals.referral (tenant_id, patient_id, sort_at, id);

-- Every message that begins as HL7 v2 does (MSH), byte for byte, whether it was accepted or refused. Anything else is
-- answered 415 and is not kept.
CREATE TABLE referrals.raw_message (
    tenant_id         uuid        NOT NULL,
    id                uuid        NOT NULL,
    referral_id       uuid,
    received_at       timestamptz NOT NULL,
    content_type      text        NOT NULL,
    message_type      text,                 -- MSH-9 as sent
    sender            text,                 -- MSH-3 and MSH-4 as sent
    control_id        text,                 -- MSH-10 as sent
    control_id_reused boolean     NOT NULL, -- with another body before
    control_hash      bytea       NOT NULL, -- of MSH-3, MSH-4, MSH-9, MSH-10
    body_hash         bytea       NOT NULL, -- of all, line ends normalised
    ack_code          text        NOT NULL,
    content           bytea       NOT NULL, -- sealed
    ack               bytea       NOT NULL, -- sealed
    CONSTRAINT raw_message_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT raw_message_of_referral FOREIGN KEY (tenant_id, referral_id)
        REFERENCES referrals.referral (tenant_id, id),
    CONSTRAINT raw_message_ack_code CHECK (ack_code IN ('AA', 'AE', 'AR'))
);
-- The same message again has no second effect; after AE or AR it is tried again.
CREATE UNIQUE INDEX hl7_duplicate ON referrals.raw_message (tenant_id, control_hash, body_hash)
    WHERE ack_code = 'AA';
CREATE INDEX hl7_control ON referrals.raw_message (tenant_id, control_hash, body_hash);
CREATE INDEX raw_message_referral ON referrals.raw_message (tenant_id, referral_id, received_at, id);

CREATE TABLE referrals.episode (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    branch_id   uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    referral_id uuid        NOT NULL,
    status      text        NOT NULL,
    version     bigint      NOT NULL,
    event_seq   bigint      NOT NULL,
    soc_date    date        NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    body        bytea       NOT NULL,
    CONSTRAINT episode_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT episode_patient FOREIGN KEY (tenant_id, patient_id)
        REFERENCES referrals.patient (tenant_id, id),
    CONSTRAINT episode_referral UNIQUE (tenant_id, referral_id),
    CONSTRAINT episode_of_referral FOREIGN KEY (tenant_id, referral_id)
        REFERENCES referrals.referral (tenant_id, id),
    CONSTRAINT episode_status CHECK (status IN ('active', 'on_hold', 'discharged'))
);
CREATE INDEX episode_order ON referrals.episode (tenant_id, created_at, id);
CREATE INDEX episode_of_patient ON referrals.episode (tenant_id, patient_id, created_at, id);

ALTER TABLE referrals.branch ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals.branch FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.patient ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals.patient FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.patient_identifier ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals.patient_identifier FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.referral ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals.referral FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.raw_message ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals.raw_message FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.episode ENABLE ROW LEVEL SECURITY;
ALTER TABLE referrals.episode FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON referrals.branch TO referrals_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON referrals.patient TO referrals_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON referrals.patient_identifier TO referrals_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON referrals.referral TO referrals_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON referrals.raw_message TO referrals_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON referrals.episode TO referrals_app
    USING (tenant_id = current_setting('cairn.tenant')::uuid);

-- What came in is never changed or removed.
GRANT SELECT, INSERT, UPDATE ON referrals.branch, referrals.patient, referrals.referral TO referrals_app;
GRANT SELECT, INSERT, DELETE ON referrals.patient_identifier TO referrals_app;
GRANT SELECT, INSERT ON referrals.raw_message, referrals.episode TO referrals_app;

-- migrate:down
DROP TABLE referrals.episode, referrals.raw_message, referrals.referral,
    referrals.patient_identifier, referrals.patient, referrals.branch;
