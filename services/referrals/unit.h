/* SPDX-License-Identifier: Apache-2.0 */
/* What several handlers do alike: ids and branches of a request, what is shown,
 * what is told by events, how a change is saved. */
#ifndef REFERRALS_UNIT_H
#define REFERRALS_UNIT_H

#include "services/referrals/store.h"

#define REFERRAL_PREFIX "ref"
#define PATIENT_PREFIX  "pat"
#define BRANCH_PREFIX   "brn"
#define EPISODE_PREFIX  "epi"
#define VISIT_PREFIX    "vis"

/* The branch that something new belongs to: the one named, if it is within the
 * reach, else the credential's default. CN_INVALID /branch_id. */
CN_CHECKED enum cn_code branch_of(const struct cn_request *request,
                                  const char *named,
                                  struct cn_uuid *ret_id,
                                  struct cn_err *err);
/* Makes sure that *zone, the branch's, is known. One of the principal's own
 * branches whose event is still on the way is waited for a little
 * (BRANCH_WAIT_US), then CN_UNAVAILABLE; another is no branch of the agency
 * (CN_INVALID /branch_id). */
enum { BRANCH_WAIT_US = 1000000, BRANCH_LOOK_US = 20000 };
CN_CHECKED enum cn_code branch_await(const struct cn_request *request,
                                     struct cn_uuid id,
                                     const char **zone,
                                     struct cn_err *err);
/* CN_STALE with the present version when If-Match names another. */
CN_CHECKED enum cn_code version_check(const struct cn_request *request,
                                      int64_t version,
                                      struct cn_err *err);

/* The row as a client sees it: the referral with a summary of its patient. NULL
 * without memory. */
Ref__Referral *referral_shown(struct cn_arena *arena,
                              const struct referral_row *row);
/* "/v1/referrals/ref_..."; NULL without memory. */
const char *referral_path(struct cn_arena *arena, struct cn_uuid id);
const char *patient_path(struct cn_arena *arena, struct cn_uuid id);

/* What others are told of a row: the referral with its patient, whose social
 * security number stays here. NULL without memory. */
Ref__ReferralEvent *referral_event(struct cn_arena *arena,
                                   const struct referral_row *row);
Ref__PatientEvent *patient_event(struct cn_arena *arena,
                                 const struct patient_row *row);
/* An event of the referral as the row has it, with its patient. */
CN_CHECKED enum cn_code referral_tell(const struct cn_store *store,
                                      struct cn_write *write,
                                      const struct referral_row *row,
                                      const char *type,
                                      int64_t aggregate_seq,
                                      struct cn_err *err);
CN_CHECKED enum cn_code patient_tell(const struct cn_store *store,
                                     struct cn_write *write,
                                     const struct patient_row *row,
                                     const char *type,
                                     int64_t aggregate_seq,
                                     struct cn_err *err);

/* Adds a warning unless it is there; CN_NOMEM. */
CN_CHECKED enum cn_code referral_warn(struct cn_arena *arena,
                                      Ref__Referral *referral,
                                      const char *warning,
                                      struct cn_err *err);

/* How a changed referral is saved. */
struct referral_save {
    const char *action;    /* of the audit: "referral.accept" */
    const char *events[2]; /* in their order; NULL: none */
};
/* Saves row->referral as version row->version + 1 in one unit with its events
 * and fills the reply. The decision holds only for the patient in
 * row->patient's version. A source and external id that another referral has:
 * CN_CONFLICT duplicate with its location. */
CN_CHECKED enum cn_code referral_save(const struct cn_request *request,
                                      struct cn_reply *reply,
                                      struct referral_row *row,
                                      const struct referral_save *save,
                                      struct cn_err *err);
/* Answers with a referral that was only read: audit row and reply. */
CN_CHECKED enum cn_code referral_answer(const struct cn_request *request,
                                        struct cn_reply *reply,
                                        const struct referral_row *row,
                                        struct cn_err *err);
/* CN_CONFLICT duplicate, naming the referral that has this source and id if it
 * is within the reach. */
CN_CHECKED enum cn_code referral_duplicate(const struct cn_request *request,
                                           const Ref__Referral__Source *source,
                                           struct cn_err *err);
/* CN_CONFLICT duplicate, naming the patient who has one of these identifiers if
 * they are within the reach. */
CN_CHECKED enum cn_code patient_duplicate(const struct cn_request *request,
                                          const struct patient_row *row,
                                          struct cn_err *err);

/* Are the two equal, packed? */
CN_CHECKED enum cn_code messages_equal(struct cn_arena *arena,
                                       const ProtobufCMessage *a,
                                       const ProtobufCMessage *b,
                                       bool *ret_equal,
                                       struct cn_err *err);

#endif
