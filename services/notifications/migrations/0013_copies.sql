-- migrate:up
-- What is known of a referral, its patient, its start of care and the clinician:
-- each a copy of its own, for their events come in no order. A row holds what is
-- looked up; the rest is the sealed message in body.
CREATE TABLE notifications.referral (
    tenant_id uuid    NOT NULL,
    id        uuid    NOT NULL,
    event_seq bigint  NOT NULL, -- of the referral: an older event changes nothing
    patient_id uuid  NOT NULL,
    accepted  boolean NOT NULL,
    body      bytea   NOT NULL, -- sealed notifications.v1.Care, the referral's part
    CONSTRAINT referral_key PRIMARY KEY (tenant_id, id)
);
CREATE TABLE notifications.patient (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    version   bigint NOT NULL, -- of the patient, whoever tells it
    body      bytea  NOT NULL, -- sealed notifications.v1.Care, the patient's part
    CONSTRAINT patient_key PRIMARY KEY (tenant_id, id)
);
-- Visits of kind soc.
CREATE TABLE notifications.visit (
    tenant_id    uuid    NOT NULL,
    id           uuid    NOT NULL,
    event_seq    bigint  NOT NULL,
    referral_id  uuid    NOT NULL,
    clinician_id uuid,
    booked       boolean NOT NULL,
    body         bytea   NOT NULL, -- sealed notifications.v1.Care, the visit's part
    CONSTRAINT visit_key PRIMARY KEY (tenant_id, id)
);
CREATE INDEX visit_by_referral ON notifications.visit (tenant_id, referral_id, id);
CREATE TABLE notifications.clinician (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    event_seq bigint NOT NULL,
    body      bytea  NOT NULL, -- sealed notifications.v1.Care, the clinician's name
    CONSTRAINT clinician_key PRIMARY KEY (tenant_id, id)
);

ALTER TABLE notifications.referral ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.referral FORCE ROW LEVEL SECURITY;
ALTER TABLE notifications.patient ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.patient FORCE ROW LEVEL SECURITY;
ALTER TABLE notifications.visit ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.visit FORCE ROW LEVEL SECURITY;
ALTER TABLE notifications.clinician ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.clinician FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notifications.referral TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON notifications.patient TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON notifications.visit TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON notifications.clinician TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE ON notifications.referral, notifications.patient, notifications.visit,
    notifications.clinician TO notifications_app;

-- What was known before is sealed: where there is some, it is copied anew.
DROP TABLE notifications.care;
SELECT notifications.rebuild_ask(p.producer, true)
FROM (SELECT DISTINCT producer FROM notifications.inbox_position WHERE producer IN ('referrals', 'scheduling')) p;

-- migrate:down
CREATE TABLE notifications.care (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    version   bigint NOT NULL,
    body      bytea  NOT NULL,
    CONSTRAINT care_key PRIMARY KEY (tenant_id, id)
);
ALTER TABLE notifications.care ENABLE ROW LEVEL SECURITY;
ALTER TABLE notifications.care FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notifications.care TO notifications_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE ON notifications.care TO notifications_app;
DROP TABLE notifications.clinician, notifications.visit, notifications.patient, notifications.referral;
