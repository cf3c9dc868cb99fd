-- migrate:up
-- Authorities and systems are compared in lower case and without blanks at their
-- ends, as the service writes them from now on. Where two rows become one name,
-- both stay as they were: which of them is right, people decide.
ALTER TABLE referrals.patient_identifier NO FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.referral NO FORCE ROW LEVEL SECURITY;

UPDATE referrals.patient_identifier i
SET system = btrim(lower(i.system COLLATE "C")), value = btrim(i.value)
WHERE (i.system, i.value) <> (btrim(lower(i.system COLLATE "C")), btrim(i.value))
AND NOT EXISTS (SELECT 1 FROM referrals.patient_identifier o
    WHERE o.tenant_id = i.tenant_id AND (o.system, o.value) <> (i.system, i.value)
    AND btrim(lower(o.system COLLATE "C")) = btrim(lower(i.system COLLATE "C"))
    AND btrim(o.value) = btrim(i.value));

UPDATE referrals.referral r
SET source_system = btrim(lower(r.source_system COLLATE "C")), source_external_id = btrim(r.source_external_id)
WHERE (r.source_system, r.source_external_id)
    <> (btrim(lower(r.source_system COLLATE "C")), btrim(r.source_external_id))
AND NOT EXISTS (SELECT 1 FROM referrals.referral o
    WHERE o.tenant_id = r.tenant_id AND o.id <> r.id
    AND btrim(lower(o.source_system COLLATE "C")) = btrim(lower(r.source_system COLLATE "C"))
    AND btrim(o.source_external_id) = btrim(r.source_external_id));

ALTER TABLE referrals.patient_identifier FORCE ROW LEVEL SECURITY;
ALTER TABLE referrals.referral FORCE ROW LEVEL SECURITY;

-- Who has the same name and birth date as a patient who arrives.
CREATE INDEX patient_person ON referrals.patient (tenant_id, birth_date, family_norm, given_norm, id);

-- migrate:down
DROP INDEX referrals.patient_person;
