/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema scheduling that are asked for otherwise than by id or page. A
 * failed operation gets none. */
#ifndef SCHEDULING_STORE_H
#define SCHEDULING_STORE_H

#include "cairn/scheduling.resources.h"
#include "services/scheduling/rules.h"

/* Who may be sent: clinicians of these branches (a uuid[], NULL for all), and
 * those of no branch where unassigned says so. */
struct clinician_scope {
    struct cn_param branches;
    bool unassigned;
};
/* All of a discipline (NULL: of any), in the order they were made, at most
 * MATCH_LEFT_OUT_MAX. */
struct cn_records clinicians_of(struct cn_op *op,
                                const char *discipline,
                                const struct clinician_scope *scope);
/* Zone of the clinician's hours: their own, else the branch's, else the
 * agency's. */
const char *clinician_zone(const struct cn_record *clinician);

/* Live visits of clinicians that touch a span, for the matcher, in the order of
 * the list. whole: there are no more than BOOKED_MAX, so these are all. */
enum { BOOKED_MAX = 20000 };
struct booked_row {
    struct cn_uuid clinician_id;
    struct span span;
};
struct booked {
    struct booked_row *rows;
    size_t count;
    bool whole;
};
struct booked booked_between(struct cn_op *op,
                             const struct cn_uuid *clinicians,
                             size_t clinician_count,
                             struct span span);

/* The live start-of-care visit of a referral, if there is one. */
struct cn_record *visit_soc_live(struct cn_op *op, struct cn_uuid referral_id);
/* The visits of a referral that are still to be made, at most VISITS_MAX. */
enum { VISITS_MAX = 200 };
struct cn_records visits_to_come(struct cn_op *op, struct cn_uuid referral_id);
/* None is left (visits_to_come_version): after they were put. */
void visits_gone_require(struct cn_op *op, struct cn_uuid referral_id);
/* The names under which the two constraints that may stand against a new visit
 * fail its write. */
struct visit_names {
    const char *overlap;
    const char *one_soc;
};
/* A client is told which: visit_overlap, visit_one_soc. */
extern const struct visit_names VISIT_REFUSED;
/* The system itself looks again for another time: both are CN_STALE. */
extern const struct visit_names VISIT_LOOK_AGAIN;
/* Puts a new visit, and fails the write when a constraint stood against it. */
void visit_put_new(struct cn_op *op,
                   struct cn_record *visit,
                   const struct visit_names *names);

/* ---- copies (store_copy.c) ---- */

/* What a referral and its patient need, put together from the two copies; found
 * false: the referral's events have not come. */
struct need_row {
    bool found;
    struct cn_uuid referral_id;
    struct cn_uuid patient_id;
    int64_t event_seq;
    Sch__Need *need;
};
struct cn_uuid need_branch(const Sch__Need *need);
/* The patient's part of a need: what a row of patient holds, the rest empty. */
void need_of_patient(const Sch__Need *patient, Sch__Need *need);
struct need_row need_get(struct cn_op *op, struct cn_uuid referral_id);
/* The referral's copy must still be as it was read: a decision was based on it
 * (need_version). Under the lock "need", which the end of a referral takes. */
void need_require(struct cn_op *op, const struct need_row *need);
/* The need of the newest of a patient's referrals that the caller may see. */
struct need_row need_within_reach(struct cn_op *op, struct cn_uuid patient_id);
/* NULL when nothing was told of the patient. */
const Sch__Need *sch_patient_get(struct cn_op *op, struct cn_uuid id);
/* The patient's part, by patient->patient_version. */
void sch_patient_keep(struct cn_op *op,
                      struct cn_uuid id,
                      const Sch__Need *patient);
/* Agency setting auto_book_soc; true until told otherwise. */
bool auto_book_soc(struct cn_op *op);
void agency_keep(struct cn_op *op,
                 int64_t event_seq,
                 const char *time_zone,
                 bool auto_book);
void branch_keep(struct cn_op *op,
                 struct cn_uuid id,
                 int64_t event_seq,
                 const char *time_zone);
/* Is it a branch of the agency, as far as access has told? */
bool sch_branch_known(struct cn_op *op, struct cn_uuid id);

#endif
