/* SPDX-License-Identifier: Apache-2.0 */
/* Episodes as rows. */
#include "common/wire/json.h"
#include "services/referrals/store_internal.h"

#include <assert.h>

#define EPISODE_BODY "referrals.episode.body"
/* 9999-12-31, after every episode. */
#define LAST_AT ((int64_t)253402214400000000)

static enum cn_code s_read(const struct cn_store *store,
                           const struct cn_rows *rows,
                           size_t row,
                           struct episode_row *ret_row,
                           struct cn_err *err)
{
    struct episode_row episode = {
        .id = cn_row_uuid(rows, row, 0),
        .branch_id = cn_row_uuid(rows, row, 1),
        .patient_id = cn_row_uuid(rows, row, 2),
        .referral_id = cn_row_uuid(rows, row, 3),
        .created_at = cn_row_at(rows, row, 4),
    };
    ProtobufCMessage *message = NULL;
    enum cn_code rc = cn_store_unseal(store, EPISODE_BODY, rows, row, 5,
                                      &ref__episode__descriptor, &message, err);
    if (rc == CN_OK) {
        episode.episode = (Ref__Episode *)message;
        /* A body from before the field was. */
        if (episode.episode->branch_id == NULL &&
            !cn_uuid_is_nil(episode.branch_id)) {
            episode.episode->branch_id =
                cn_id_text(store->arena, "brn", episode.branch_id);
        }
        *ret_row = episode;
    }
    return rc;
}

#define EPISODES_PAGE(condition)                                               \
    "SELECT e.id, e.branch_id, e.patient_id, e.referral_id, e.created_at,"     \
    " e.body FROM referrals.episode e WHERE e.tenant_id = $1" condition        \
    " AND (e.created_at, e.id) < ($2, $3)"                                     \
    " AND ($4::uuid[] IS NULL OR e.branch_id = ANY ($4))"                      \
    " ORDER BY e.created_at DESC, e.id DESC LIMIT $5"

CN_SQL_READ(SQL_EPISODES_PAGE, EPISODES_PAGE(""));
CN_SQL_READ(SQL_EPISODES_OF_PATIENT, EPISODES_PAGE(" AND e.patient_id = $6"));

enum cn_code episodes_page(const struct cn_store *store,
                           struct cn_param reach,
                           struct cn_uuid patient_id,
                           struct cn_cursor before,
                           int limit,
                           struct episode_row **ret_rows,
                           size_t *ret_count,
                           struct cn_err *err)
{
    bool all = cn_uuid_is_nil(patient_id);
    const struct cn_rows *rows = NULL;
    const struct cn_param params[] = {
        cn_uuid(store->tenant_id),
        cn_at(before.key != 0 ? before.key : LAST_AT),
        cn_uuid(before.id),
        reach,
        cn_int(limit),
        cn_uuid(patient_id),
    };
    enum cn_code rc = cn_store_read(
        store, all ? &SQL_EPISODES_PAGE : &SQL_EPISODES_OF_PATIENT, params,
        all ? 5 : 6, &rows, err);
    if (rc != CN_OK) {
        return rc;
    }
    size_t count = cn_rows_count(rows);
    struct episode_row *page =
        cn_arena_array(store->arena, count + 1, sizeof(*page));
    if (page == NULL) {
        return cn_fail(err, CN_NOMEM, "list episodes");
    }
    for (size_t row = 0; rc == CN_OK && row < count; row++) {
        rc = s_read(store, rows, row, &page[row], err);
    }
    if (rc == CN_OK) {
        *ret_rows = page;
        *ret_count = count;
    }
    return rc;
}

CN_SQL_WRITE(SQL_EPISODE_ADD,
             "INSERT INTO referrals.episode (tenant_id, id, branch_id,"
             " patient_id, referral_id, status, version, event_seq, soc_date,"
             " created_at, updated_at, body)"
             " VALUES ($1, $2, $3, $4, $5, $6, 1, 1, $7, $8, $8, $9)");

enum cn_code episode_add(const struct cn_store *store,
                         struct cn_write *write,
                         const struct episode_row *row,
                         struct cn_err *err)
{
    const char *status = cn_enum_word(&ref__episode__status__descriptor,
                                      (int)row->episode->status);
    struct cn_param body;
    assert(status != NULL);
    enum cn_code rc =
        cn_store_seal(store, EPISODE_BODY, &row->episode->base, &body, err);
    if (rc == CN_OK) {
        CN_CHANGE(write, &SQL_EPISODE_ADD, cn_uuid(store->tenant_id),
                  cn_uuid(row->id), cn_uuid(row->branch_id),
                  cn_uuid(row->patient_id), cn_uuid(row->referral_id),
                  cn_text(status), cn_text(row->episode->soc_date),
                  cn_at(row->created_at), body);
    }
    return rc;
}
