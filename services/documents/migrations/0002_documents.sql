-- migrate:up
-- The checklist of a start of care and its documents. A row holds what is
-- queried and constrained; the resource is the sealed message in body.
CREATE TABLE documents.checklist (
    tenant_id  uuid        NOT NULL,
    id         uuid        NOT NULL, -- of the referral
    patient_id uuid        NOT NULL,
    branch_id  uuid,
    event_seq  bigint      NOT NULL,
    opened_at  timestamptz NOT NULL,
    CONSTRAINT checklist_key PRIMARY KEY (tenant_id, id)
);

CREATE TABLE documents.document (
    tenant_id   uuid        NOT NULL,
    id          uuid        NOT NULL,
    branch_id   uuid,
    referral_id uuid        NOT NULL,
    patient_id  uuid        NOT NULL,
    kind        text        NOT NULL
        CONSTRAINT document_kind CHECK (kind IN ('plan_of_care', 'face_to_face', 'verbal_order', 'consent', 'authorization')),
    status      text        NOT NULL
        CONSTRAINT document_status CHECK (status IN ('required', 'received_raw', 'draft', 'queued', 'sent', 'delivered', 'signed',
            'returned_defective', 'rejected', 'filed', 'voided')),
    version     bigint      NOT NULL,
    event_seq   bigint      NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    body        bytea       NOT NULL,
    CONSTRAINT document_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT document_checklist FOREIGN KEY (tenant_id, referral_id)
        REFERENCES documents.checklist (tenant_id, id)
);
-- One open document per item of a checklist.
CREATE UNIQUE INDEX document_one_open ON documents.document (tenant_id, referral_id, kind)
    WHERE kind IN ('plan_of_care', 'face_to_face', 'consent') AND status NOT IN ('rejected', 'voided');
CREATE INDEX document_order ON documents.document (tenant_id, created_at, id);
CREATE INDEX document_by_status ON documents.document (tenant_id, status, created_at, id);
CREATE INDEX document_by_referral ON documents.document (tenant_id, referral_id, created_at, id);
CREATE INDEX document_by_patient ON documents.document (tenant_id, patient_id, created_at, id);

ALTER TABLE documents.checklist ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents.checklist FORCE ROW LEVEL SECURITY;
ALTER TABLE documents.document ENABLE ROW LEVEL SECURITY;
ALTER TABLE documents.document FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON documents.checklist TO documents_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
CREATE POLICY tenant ON documents.document TO documents_app USING (tenant_id = current_setting('cairn.tenant')::uuid);
GRANT SELECT, INSERT ON documents.checklist TO documents_app;
GRANT SELECT, INSERT, UPDATE ON documents.document TO documents_app;

-- migrate:down
DROP TABLE documents.document, documents.checklist;
