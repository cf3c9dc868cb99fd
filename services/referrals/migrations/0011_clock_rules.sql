-- migrate:up
-- The clock C01 of a referral: 48 hours from the valid referral or the return home, whichever is later, or
-- the date on which the physician orders the start of care. Warnings a day, half a day and four hours before.
INSERT INTO referrals.clock_rule (id, effective_from, name, trigger, starts, amount, unit, ordered, warn_minutes, told_by,
    exceptions, citation)
VALUES ('C01', '2000-01-01', 'Initial assessment visit', 'referral.validated', '{valid_referral,return_home}', 48,
    'elapsed_hours', 'start_of_care_ordered', '{1440,720,240}', 'scheduling',
    'An order for another date must arrive before the clock has run out and names one date. Later detail of a diagnosis'
    ' does not restart it; a patient''s refusal does not move it.',
    '42 CFR 484.55(a)(1)');

-- migrate:down
DELETE FROM referrals.clock_rule WHERE id = 'C01';
