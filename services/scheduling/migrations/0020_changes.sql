-- migrate:up
-- What changed since an instant, in the order of changes.
CREATE INDEX visit_change ON scheduling.visit (tenant_id, updated_at, id);

-- migrate:down
DROP INDEX scheduling.visit_change;
