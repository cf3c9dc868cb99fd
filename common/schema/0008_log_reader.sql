-- migrate:up
-- How far the consumers have read this service's log, as their fetches said: an
-- event goes only when every named consumer has passed it and the replay window
-- is over. A consumer that is gone for good is deleted here by hand, or the log
-- grows for ever.
CREATE TABLE {{schema}}.log_reader (
    consumer  text        NOT NULL,
    partition smallint    NOT NULL CONSTRAINT log_reader_partition_check CHECK (partition BETWEEN 0 AND 15),
    epoch     int         NOT NULL,
    xid       xid8        NOT NULL,
    seq       bigint      NOT NULL,
    seen_at   timestamptz NOT NULL,
    CONSTRAINT log_reader_key PRIMARY KEY (consumer, partition)
);
GRANT SELECT, INSERT, UPDATE ON {{schema}}.log_reader TO {{schema}}_relay;

-- migrate:down
DROP TABLE {{schema}}.log_reader;
