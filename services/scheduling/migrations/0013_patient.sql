-- migrate:up
-- Facts of a patient are a copy of their own: events of patients and of
-- referrals come in no order.
CREATE TABLE scheduling.patient (
    tenant_id uuid   NOT NULL,
    id        uuid   NOT NULL,
    version   bigint NOT NULL, -- of the patient: an older one changes nothing
    body      bytea  NOT NULL, -- sealed scheduling.v1.Need, the patient's part
    CONSTRAINT patient_key PRIMARY KEY (tenant_id, id)
);
ALTER TABLE scheduling.patient ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.patient FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON scheduling.patient TO scheduling_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT, UPDATE ON scheduling.patient TO scheduling_app;

-- What was copied before is sealed: where there is some, it is copied anew.
SELECT scheduling.rebuild_ask(p.producer, true)
FROM (SELECT DISTINCT producer FROM scheduling.inbox_position WHERE producer = 'referrals') p;

-- migrate:down
DROP TABLE scheduling.patient;
