-- migrate:up
-- MSH-10 may name a patient: control_hash finds a message again, and the sealed content has it.
ALTER TABLE referrals.raw_message NO FORCE ROW LEVEL SECURITY;
UPDATE referrals.raw_message SET control_id = NULL WHERE control_id IS NOT NULL;
ALTER TABLE referrals.raw_message FORCE ROW LEVEL SECURITY;
COMMENT ON COLUMN referrals.raw_message.control_id IS 'not written any more';

-- migrate:down
COMMENT ON COLUMN referrals.raw_message.control_id IS NULL;
