-- migrate:up
-- What changed since an instant, in the order of changes.
CREATE INDEX document_change ON documents.document (tenant_id, updated_at, id);

-- migrate:down
DROP INDEX documents.document_change;
