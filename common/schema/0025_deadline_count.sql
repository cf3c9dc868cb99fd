-- migrate:up
-- How many clocks run, and how many were breached, is told as a metric: of all
-- agencies together, by the relay. Clocks that were met or cancelled are many and
-- are not counted.
CREATE POLICY relay ON {{schema}}.deadline FOR SELECT TO {{schema}}_relay USING (true);
CREATE INDEX deadline_counted ON {{schema}}.deadline (state, rule)
    WHERE state IN ('open', 'warned', 'breach_suspected', 'breached');

-- migrate:down
DROP INDEX {{schema}}.deadline_counted;
DROP POLICY relay ON {{schema}}.deadline;
