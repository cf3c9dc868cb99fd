-- migrate:up
-- Consumers by partition, and how their replicas share the work.
-- Rendered by the build: {{schema}} is the service's schema.

-- A position is of one partition: one that was of all of them is that of each.
INSERT INTO {{schema}}.inbox_position (producer, partition, epoch, xid, seq)
SELECT p.producer, n, p.epoch, p.xid, p.seq
FROM {{schema}}.inbox_position p CROSS JOIN generate_series(0, 15) AS n
WHERE p.partition = -1;
DELETE FROM {{schema}}.inbox_position WHERE partition = -1;
ALTER TABLE {{schema}}.inbox_position
    ADD CONSTRAINT inbox_position_partition CHECK (partition BETWEEN 0 AND 15);

-- The live replicas of this service, by what they follow: each renews its rows.
CREATE TABLE {{schema}}.replica (
    producer text        NOT NULL,
    id       uuid        NOT NULL, -- made at each start of a process
    until    timestamptz NOT NULL, -- the database's clock: then it counts as gone
    CONSTRAINT replica_key PRIMARY KEY (producer, id)
);

-- Who works on a partition. A lease holds as long as its holder is a live
-- replica, so it is not renewed by itself.
CREATE TABLE {{schema}}.lease (
    producer  text NOT NULL,
    partition int  NOT NULL CONSTRAINT lease_partition_check CHECK (partition BETWEEN 0 AND 15),
    holder    uuid, -- of replica
    CONSTRAINT lease_key PRIMARY KEY (producer, partition)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON {{schema}}.replica TO {{schema}}_relay;
GRANT SELECT, INSERT, UPDATE ON {{schema}}.lease TO {{schema}}_relay;

-- migrate:down
DROP TABLE {{schema}}.lease, {{schema}}.replica;
ALTER TABLE {{schema}}.inbox_position DROP CONSTRAINT inbox_position_partition;
-- What every partition has passed, the whole log has passed.
INSERT INTO {{schema}}.inbox_position (producer, partition, epoch, xid, seq)
SELECT DISTINCT ON (p.producer) p.producer, -1, p.epoch, p.xid, p.seq
FROM {{schema}}.inbox_position p ORDER BY p.producer, p.epoch, p.xid, p.seq;
DELETE FROM {{schema}}.inbox_position WHERE partition <> -1;
