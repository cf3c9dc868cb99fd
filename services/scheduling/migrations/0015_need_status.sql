-- migrate:up
-- A need holds the status of its referral now, in its sealed body, and a time
-- of the week that goes over midnight. Where there are needs, they are copied
-- anew; until then a start of care waits for its referral.
SELECT scheduling.rebuild_ask(p.producer, true)
FROM (SELECT DISTINCT producer FROM scheduling.inbox_position WHERE producer = 'referrals') p;

-- migrate:down
SELECT 1;
