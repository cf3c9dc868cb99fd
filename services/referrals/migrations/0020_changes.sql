-- migrate:up
-- What changed since an instant, in the order of changes; and every referral that a sender knows by an id, those that
-- are over too.
CREATE INDEX referral_change ON referrals.referral (tenant_id, updated_at, id);
CREATE INDEX patient_change ON referrals.patient (tenant_id, updated_at, id);
CREATE INDEX referral_of_source ON referrals.referral (tenant_id, source_system, source_external_id, sort_at, id)
    WHERE source_external_id IS NOT NULL;

-- migrate:down
DROP INDEX referrals.referral_of_source, referrals.patient_change, referrals.referral_change;
