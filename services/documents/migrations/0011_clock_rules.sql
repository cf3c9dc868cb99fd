-- migrate:up
-- The clock of the face-to-face encounter (C07): its date lies from 90 days before the start of care to 30
-- days after it. Warnings two weeks, one week and two days before. That the 30th day still counts is the plain reading.
INSERT INTO documents.clock_rule (id, effective_from, name, trigger, starts, amount, unit, opens_before, warn_minutes,
    exceptions, citation)
VALUES ('C07', '2000-01-01', 'Face-to-face encounter', 'referral.admitted', '{start_of_care}', 30, 'calendar_days', 90,
    '{20160,10080,2880}',
    'The encounter is related to the primary reason for home health; telehealth counts.', '42 CFR 424.22(a)(1)(v)');

-- migrate:down
DELETE FROM documents.clock_rule WHERE id = 'C07';
