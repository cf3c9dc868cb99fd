/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of what referrals and scheduling tell, put together where they are
 * read. A copy that was kept as a whole Care reads as its own part. */
#include "services/notifications/store.h"

#include "common/wire/message.h"

/* ---- the parts of what is known ---- */

void care_of_referral(const Ntf__Referral *referral, Ntf__Care *care)
{
    care->referral_id = referral->referral_id;
    care->patient_id = referral->patient_id;
    care->branch_id = referral->branch_id;
    care->source_organization = referral->source_organization;
    care->source_email = referral->source_email;
    care->external_id = referral->external_id;
    care->time_zone = referral->time_zone;
    care->has_soc_due_at = referral->has_soc_due_at;
    care->soc_due_at = referral->soc_due_at;
}

void care_of_patient(const Ntf__Patient *patient, Ntf__Care *care)
{
    care->patient_given = patient->patient_given;
    care->patient_email = patient->patient_email;
    care->language = patient->language;
    CN_SET(care, patient_version, patient->patient_version);
}

void care_of_soc(const struct soc *soc, Ntf__Care *care)
{
    if (soc->booked) {
        CN_SET(care, soc_starts_at, soc->starts_at);
        care->clinician_name = soc->clinician_name;
    }
}

/* A copy's body from the first row, in a column of a join; blank where there is
 * none. */
static const void *s_part(struct cn_op *op,
                          const struct cn_resource *resource,
                          const struct cn_rows *rows,
                          int column)
{
    const ProtobufCMessageDescriptor *descriptor = resource->shape->descriptor;
    return cn_rows_count(rows) > 0 && !cn_row_null(rows, 0, column)
               ? cn_opened(op, resource->context, rows, 0, column, descriptor)
               : cn_message_new(op->arena, descriptor);
}

/* ---- read ---- */

CN_SQL_READ(SQL_CARE_KNOWN,
            "SELECT r.event_seq, r.accepted, r.body, p.body"
            " FROM notifications.referral r LEFT JOIN notifications.patient p"
            " ON p.tenant_id = r.tenant_id AND p.id = r.patient_id"
            " WHERE r.id = $1");

struct care_known care_known(struct cn_op *op, struct cn_uuid referral_id)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_CARE_KNOWN, cn_uuid(referral_id));
    struct care_known known = {
        .care = CN_NEW(op->arena, ntf__care, Ntf__Care),
    };
    care_of_referral(s_part(op, &ntf__referral__resource, rows, 2), known.care);
    care_of_patient(s_part(op, &ntf__patient__resource, rows, 3), known.care);
    if (cn_rows_count(rows) > 0) {
        known.event_seq = cn_row_int(rows, 0, 0);
        CN_SET(known.care, accepted, cn_row_bool(rows, 0, 1));
    }
    return known;
}

/* Of a visit v and its clinician c. */
#define SOC_COLUMNS "v.event_seq, v.booked, v.body, c.body"
#define SOC_CLINICIAN                                                          \
    " LEFT JOIN notifications.clinician c"                                     \
    " ON c.tenant_id = v.tenant_id AND c.id = v.clinician_id"

static struct soc s_soc_read(struct cn_op *op, const struct cn_rows *rows)
{
    const Ntf__Visit *visit = s_part(op, &ntf__visit__resource, rows, 2);
    const Ntf__Clinician *clinician =
        s_part(op, &ntf__clinician__resource, rows, 3);
    if (cn_rows_count(rows) == 0 || cn_row_null(rows, 0, 0)) {
        return (struct soc){ .booked = false };
    }
    return (struct soc){ .event_seq = cn_row_int(rows, 0, 0),
                         .booked = cn_row_bool(rows, 0, 1),
                         .starts_at = visit->soc_starts_at,
                         .clinician_name = clinician->clinician_name };
}

CN_SQL_READ(SQL_SOC_OF_VISIT,
            "SELECT " SOC_COLUMNS " FROM notifications.visit v" SOC_CLINICIAN
            " WHERE v.id = $1");

struct soc soc_of_visit(struct cn_op *op, struct cn_uuid visit_id)
{
    return s_soc_read(op, CN_READ(op, &SQL_SOC_OF_VISIT, cn_uuid(visit_id)));
}

/* Of several that count as booked, because the end of the older one was not
 * told yet, the newest is meant. */
CN_SQL_READ(SQL_SOC_OF_REFERRAL,
            "SELECT " SOC_COLUMNS
            ", (SELECT coalesce(sum(x.event_seq), 0)::bigint"
            " FROM notifications.visit x WHERE x.referral_id = $1)"
            " FROM (VALUES (1)) AS one LEFT JOIN LATERAL"
            " (SELECT y.* FROM notifications.visit y"
            " WHERE y.referral_id = $1 AND y.booked"
            " ORDER BY y.id DESC LIMIT 1) v ON true" SOC_CLINICIAN);

struct soc
soc_of_referral(struct cn_op *op, struct cn_uuid referral_id, int64_t *ret_mark)
{
    const struct cn_rows *rows =
        CN_READ(op, &SQL_SOC_OF_REFERRAL, cn_uuid(referral_id));
    *ret_mark = cn_rows_count(rows) > 0 ? cn_row_int(rows, 0, 4) : 0;
    return s_soc_read(op, rows);
}

/* ---- what a decision was based on ---- */

CN_SQL_WRITE(SQL_REFERRAL_REQUIRE,
             "SELECT notifications.require(coalesce((SELECT r.event_seq"
             " FROM notifications.referral r WHERE r.id = $1), 0) = $2,"
             " 'care_version')");

void referral_require(struct cn_op *op, struct cn_uuid id, int64_t event_seq)
{
    CN_CHANGE(op, &SQL_REFERRAL_REQUIRE, cn_uuid(id), cn_int(event_seq));
}

CN_SQL_WRITE(SQL_SOC_REQUIRE,
             "SELECT notifications.require((SELECT"
             " coalesce(sum(v.event_seq), 0)::bigint"
             " FROM notifications.visit v WHERE v.referral_id = $1) = $2,"
             " 'care_version')");

void soc_require(struct cn_op *op, struct cn_uuid referral_id, int64_t mark)
{
    CN_CHANGE(op, &SQL_SOC_REQUIRE, cn_uuid(referral_id), cn_int(mark));
}
