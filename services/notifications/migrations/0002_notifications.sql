-- migrate:up
-- What is known of a referral to tell people of it, and the messages. A row holds
-- what is queried and constrained; the rest is the sealed message in body.
CREATE TABLE notifications.care (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL, -- of the referral
    version   bigint NOT NULL,
    body      bytea  NOT NULL, -- sealed notifications.v1.Care
    CONSTRAINT care_key PRIMARY KEY (tenant_id, id)
);

CREATE TABLE notifications.message (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    branch_id   uuid,
    referral_id uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    audience    text        NOT NULL
        CONSTRAINT message_audience CHECK (audience IN ('referral_source', 'patient', 'family', 'physician', 'clinician')),
    template    text        NOT NULL,
    status      text        NOT NULL
        CONSTRAINT message_status CHECK (status IN ('queued', 'sent', 'delivered', 'failed', 'not_sent', 'stopped')),
    version     bigint      NOT NULL,
    event_seq   bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    body        bytea       NOT NULL, -- sealed notifications.v1.Outgoing
    CONSTRAINT message_key PRIMARY KEY (tenant_id, id),
    -- Nobody is told the same thing of the same referral twice.
    CONSTRAINT message_once UNIQUE (tenant_id, referral_id, template, audience)
);
CREATE INDEX message_order ON notifications.message (tenant_id, created_at, id);
CREATE INDEX message_by_status ON notifications.message (tenant_id, status, created_at, id);
CREATE INDEX message_by_referral ON notifications.message (tenant_id, referral_id, created_at, id);
CREATE INDEX message_by_patient ON notifications.message (tenant_id, patient_id, created_at, id);

ALTER TABLE notifications.care ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.care FORCE ROW LEVEL SECURITY;
ALTER TABLE notifications.message ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.message FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notifications.care TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON notifications.message TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE ON notifications.care, notifications.message TO notifications_app;

-- migrate:down
DROP TABLE notifications.message, notifications.care;
