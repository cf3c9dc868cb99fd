/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of what referrals and scheduling tell. Each row keeps the newest,
 * whatever the order in which it is told, and what is as new replaces too: a
 * rebuild repairs what was copied wrong. */
#include "common/wire/message.h"
#include "services/notifications/store.h"

static const char REFERRAL_CONTEXT[] = "notifications.referral.body";
static const char PATIENT_CONTEXT[] = "notifications.patient.body";
static const char VISIT_CONTEXT[] = "notifications.visit.body";
static const char CLINICIAN_CONTEXT[] = "notifications.clinician.body";

/* ---- the parts of what is known ---- */

void care_of_patient(const Ntf__Care *patient, Ntf__Care *care)
{
    care->patient_given = patient->patient_given;
    care->patient_email = patient->patient_email;
    care->language = patient->language;
    CN_SET(care, patient_version, patient->patient_version);
}

void care_of_visit(const Ntf__Care *visit, Ntf__Care *care)
{
    care->has_soc_starts_at = visit->has_soc_starts_at;
    care->soc_starts_at = visit->soc_starts_at;
    care->clinician_name = visit->clinician_name;
}

/* A part from its column; NULL where there is no row. */
static enum cn_code s_part(const struct cn_store *store,
                           const char *context,
                           const struct cn_rows *rows,
                           int column,
                           Ntf__Care **ret_part,
                           struct cn_err *err)
{
    ProtobufCMessage *message = NULL;
    enum cn_code rc = CN_OK;
    if (cn_rows_count(rows) > 0 && !cn_row_null(rows, 0, column)) {
        rc = cn_store_unseal(store, context, rows, 0, column,
                             &ntf__care__descriptor, &message, err);
    }
    if (rc == CN_OK) {
        *ret_part = (Ntf__Care *)message;
    }
    return rc;
}

/* ---- read ---- */

CN_SQL_READ(SQL_REFERRAL_GET,
            "SELECT r.event_seq, r.accepted, r.body, p.body"
            " FROM notifications.referral r LEFT JOIN notifications.patient p"
            " ON p.tenant_id = r.tenant_id AND p.id = r.patient_id"
            " WHERE r.id = $1");

enum cn_code referral_get(const struct cn_store *store,
                          struct cn_uuid id,
                          struct referral_copy *ret_copy,
                          struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct referral_copy copy = { .id = id };
    Ntf__Care *patient = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_REFERRAL_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = s_part(store, REFERRAL_CONTEXT, rows, 2, &copy.care, err);
    }
    if (rc == CN_OK) {
        rc = s_part(store, PATIENT_CONTEXT, rows, 3, &patient, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (copy.care != NULL) {
        copy.event_seq = cn_row_int(rows, 0, 0);
        copy.accepted = cn_row_bool(rows, 0, 1);
    }
    if (patient != NULL && copy.care != NULL) {
        care_of_patient(patient, copy.care);
    }
    *ret_copy = copy;
    return CN_OK;
}

CN_SQL_READ(SQL_PATIENT_GET,
            "SELECT p.body FROM notifications.patient p WHERE p.id = $1");

enum cn_code patient_get(const struct cn_store *store,
                         struct cn_uuid id,
                         Ntf__Care **ret_patient,
                         struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_PATIENT_GET, &rows, err, cn_uuid(id));
    return rc == CN_OK
               ? s_part(store, PATIENT_CONTEXT, rows, 0, ret_patient, err)
               : rc;
}

/* Of several that count as booked, because the end of the older one was not
 * told yet, the newest is meant. */
CN_SQL_READ(SQL_SOC_GET,
            "SELECT (SELECT coalesce(sum(x.event_seq), 0)::bigint"
            " FROM notifications.visit x WHERE x.referral_id = $1),"
            " v.body, c.body FROM (VALUES (1)) AS one LEFT JOIN LATERAL"
            " (SELECT y.tenant_id, y.clinician_id, y.body"
            " FROM notifications.visit y WHERE y.referral_id = $1 AND y.booked"
            " ORDER BY y.id DESC LIMIT 1) v ON true"
            " LEFT JOIN notifications.clinician c"
            " ON c.tenant_id = v.tenant_id AND c.id = v.clinician_id");

enum cn_code soc_get(const struct cn_store *store,
                     struct cn_uuid referral_id,
                     struct soc_copy *ret_copy,
                     struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct soc_copy copy = { .care = NULL };
    Ntf__Care *clinician = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_SOC_GET, &rows, err, cn_uuid(referral_id));
    if (rc == CN_OK) {
        rc = s_part(store, VISIT_CONTEXT, rows, 1, &copy.care, err);
    }
    if (rc == CN_OK) {
        rc = s_part(store, CLINICIAN_CONTEXT, rows, 2, &clinician, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    copy.mark = cn_row_int(rows, 0, 0);
    if (copy.care != NULL && clinician != NULL) {
        copy.care->clinician_name = clinician->clinician_name;
    }
    *ret_copy = copy;
    return CN_OK;
}

CN_SQL_READ(SQL_VISIT_GET,
            "SELECT v.event_seq, v.booked, v.clinician_id, v.body"
            " FROM notifications.visit v WHERE v.id = $1");

enum cn_code visit_get(const struct cn_store *store,
                       struct cn_uuid id,
                       struct visit_copy *ret_copy,
                       struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    struct visit_copy copy = { .id = id };
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_VISIT_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = s_part(store, VISIT_CONTEXT, rows, 3, &copy.care, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (copy.care != NULL) {
        copy.event_seq = cn_row_int(rows, 0, 0);
        copy.booked = cn_row_bool(rows, 0, 1);
        copy.clinician_id = cn_row_uuid(rows, 0, 2);
    }
    *ret_copy = copy;
    return CN_OK;
}

CN_SQL_READ(SQL_CLINICIAN_GET,
            "SELECT c.body FROM notifications.clinician c WHERE c.id = $1");

enum cn_code clinician_name(const struct cn_store *store,
                            struct cn_uuid id,
                            const char **ret_name,
                            struct cn_err *err)
{
    const struct cn_rows *rows = NULL;
    Ntf__Care *clinician = NULL;
    enum cn_code rc =
        CN_STORE_READ(store, &SQL_CLINICIAN_GET, &rows, err, cn_uuid(id));
    if (rc == CN_OK) {
        rc = s_part(store, CLINICIAN_CONTEXT, rows, 0, &clinician, err);
    }
    if (rc == CN_OK) {
        *ret_name = clinician != NULL ? clinician->clinician_name : NULL;
    }
    return rc;
}

/* ---- written ---- */

CN_SQL_WRITE(SQL_REFERRAL_KEEP,
             "INSERT INTO notifications.referral AS r (tenant_id, id,"
             " event_seq, patient_id, accepted, body)"
             " VALUES ($1, $2, $3, $4, $5, $6)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " event_seq = excluded.event_seq,"
             " patient_id = excluded.patient_id,"
             " accepted = excluded.accepted, body = excluded.body"
             " WHERE r.event_seq <= excluded.event_seq");

enum cn_code referral_keep(const struct cn_store *store,
                           struct cn_write *write,
                           const struct referral_copy *copy,
                           struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, REFERRAL_CONTEXT, &copy->care->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_REFERRAL_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(copy->id), cn_int(copy->event_seq),
                  cn_uuid(copy->patient_id), cn_bool(copy->accepted), body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_PATIENT_KEEP,
             "INSERT INTO notifications.patient AS p (tenant_id, id, version,"
             " body) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " version = excluded.version, body = excluded.body"
             " WHERE p.version <= excluded.version");

enum cn_code patient_keep(const struct cn_store *store,
                          struct cn_write *write,
                          struct cn_uuid id,
                          const Ntf__Care *patient,
                          struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, PATIENT_CONTEXT, &patient->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_PATIENT_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(id), cn_int(patient->patient_version), body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_VISIT_KEEP,
             "INSERT INTO notifications.visit AS v (tenant_id, id, event_seq,"
             " referral_id, clinician_id, booked, body)"
             " VALUES ($1, $2, $3, $4, $5, $6, $7)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " event_seq = excluded.event_seq,"
             " clinician_id = excluded.clinician_id,"
             " booked = excluded.booked, body = excluded.body"
             " WHERE v.event_seq <= excluded.event_seq");

enum cn_code visit_keep(const struct cn_store *store,
                        struct cn_write *write,
                        const struct visit_copy *copy,
                        struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, VISIT_CONTEXT, &copy->care->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_VISIT_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(copy->id), cn_int(copy->event_seq),
                  cn_uuid(copy->referral_id),
                  cn_uuid_or_null(copy->clinician_id), cn_bool(copy->booked),
                  body);
    }
    return rc;
}

CN_SQL_WRITE(SQL_CLINICIAN_KEEP,
             "INSERT INTO notifications.clinician AS c (tenant_id, id,"
             " event_seq, body) VALUES ($1, $2, $3, $4)"
             " ON CONFLICT (tenant_id, id) DO UPDATE SET"
             " event_seq = excluded.event_seq, body = excluded.body"
             " WHERE c.event_seq <= excluded.event_seq");

enum cn_code clinician_keep(const struct cn_store *store,
                            struct cn_write *write,
                            struct cn_uuid id,
                            int64_t event_seq,
                            const Ntf__Care *clinician,
                            struct cn_err *err)
{
    struct cn_param body;
    enum cn_code rc =
        cn_store_seal(store, CLINICIAN_CONTEXT, &clinician->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_CLINICIAN_KEEP, cn_uuid(store->tenant_id),
                  cn_uuid(id), cn_int(event_seq), body);
    }
    return rc;
}

/* ---- what a decision was based on ---- */

CN_SQL_WRITE(SQL_REFERRAL_REQUIRE,
             "SELECT notifications.require(coalesce((SELECT r.event_seq"
             " FROM notifications.referral r WHERE r.id = $1), 0) = $2,"
             " 'care_version')");

void referral_require(struct cn_write *write,
                      struct cn_uuid id,
                      int64_t event_seq)
{
    CN_CHANGE(write, &SQL_REFERRAL_REQUIRE, cn_uuid(id), cn_int(event_seq));
}

CN_SQL_WRITE(SQL_SOC_REQUIRE,
             "SELECT notifications.require((SELECT"
             " coalesce(sum(v.event_seq), 0)::bigint"
             " FROM notifications.visit v WHERE v.referral_id = $1) = $2,"
             " 'care_version')");

void soc_require(struct cn_write *write,
                 struct cn_uuid referral_id,
                 int64_t mark)
{
    CN_CHANGE(write, &SQL_SOC_REQUIRE, cn_uuid(referral_id), cn_int(mark));
}
