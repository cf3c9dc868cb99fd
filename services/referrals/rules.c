/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/rules.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/contract/service.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STATUS(word) REF__REFERRAL__STATUS__##word

/* ---- legal moves ---- */

static const struct {
    Ref__Referral__Status from;
    enum referral_command command;
    Ref__Referral__Status to;
} MOVES[] = {
    { STATUS(CAPTURED), REFERRAL_MATCH, STATUS(MATCHING) },
    { STATUS(MATCHING), REFERRAL_ASK, STATUS(INCOMPLETE) },
    { STATUS(MATCHING), REFERRAL_VALIDATE, STATUS(VALID) },
    { STATUS(INCOMPLETE), REFERRAL_VALIDATE, STATUS(VALID) },
    { STATUS(VALID), REFERRAL_VALIDATE, STATUS(VALID) },
    { STATUS(VALID), REFERRAL_LAPSE, STATUS(INCOMPLETE) },
    { STATUS(VALID), REFERRAL_VERIFY, STATUS(VERIFYING) },
    { STATUS(VERIFYING), REFERRAL_REVIEW, STATUS(REVIEW) },
    { STATUS(REVIEW), REFERRAL_ACCEPT, STATUS(ACCEPTED) },

    { STATUS(ACCEPTED), REFERRAL_SCHEDULE, STATUS(SOC_SCHEDULED) },
    { STATUS(SOC_SCHEDULED), REFERRAL_SCHEDULE, STATUS(SOC_SCHEDULED) },
    { STATUS(SOC_SCHEDULED), REFERRAL_UNSCHEDULE, STATUS(ACCEPTED) },
    { STATUS(SOC_SCHEDULED), REFERRAL_ADMIT, STATUS(ADMITTED) },
    { STATUS(ACCEPTED), REFERRAL_NOT_ADMIT, STATUS(NOT_ADMITTED) },
    { STATUS(SOC_SCHEDULED), REFERRAL_NOT_ADMIT, STATUS(NOT_ADMITTED) },

    { STATUS(CAPTURED), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(MATCHING), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(INCOMPLETE), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(VALID), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(VERIFYING), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(REVIEW), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(ACCEPTED), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(SOC_SCHEDULED), REFERRAL_DECLINE, STATUS(DECLINED) },
    { STATUS(DECLINED), REFERRAL_REOPEN, STATUS(REVIEW) },

    { STATUS(CAPTURED), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(MATCHING), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(INCOMPLETE), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(VALID), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(VERIFYING), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(REVIEW), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(ACCEPTED), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },
    { STATUS(SOC_SCHEDULED), REFERRAL_WITHDRAW, STATUS(WITHDRAWN) },

    { STATUS(ADMITTED), REFERRAL_CLOSE, STATUS(CLOSED) },
    { STATUS(DECLINED), REFERRAL_CLOSE, STATUS(CLOSED) },
    { STATUS(NOT_ADMITTED), REFERRAL_CLOSE, STATUS(CLOSED) },
    { STATUS(WITHDRAWN), REFERRAL_CLOSE, STATUS(CLOSED) },
};

/* The way of a referral that nothing stops: what lies between is passed in this
 * order. */
static const enum referral_command FORWARD[] = {
    REFERRAL_MATCH, REFERRAL_VALIDATE, REFERRAL_VERIFY, REFERRAL_REVIEW
};
enum { FORWARD_COUNT = CN_COUNT(FORWARD) };

const char *const referral_open_words[REFERRAL_OPEN_COUNT] = {
    "captured",  "matching", "incomplete", "valid",
    "verifying", "review",   "accepted",   "soc_scheduled"
};

bool referral_move(Ref__Referral__Status from,
                   enum referral_command command,
                   Ref__Referral__Status *ret_to)
{
    for (size_t i = 0; i < CN_COUNT(MOVES); i++) {
        if (MOVES[i].from == from && MOVES[i].command == command) {
            *ret_to = MOVES[i].to;
            return true;
        }
    }
    return false;
}

bool referral_is_open(Ref__Referral__Status status)
{
    Ref__Referral__Status to;
    return referral_move(status, REFERRAL_WITHDRAW, &to);
}

/* ---- what a valid referral needs ---- */

static bool s_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool s_has_name(const Ref__Referral *referral,
                       const Ref__Patient *patient)
{
    (void)referral;
    return patient != NULL && patient->name != NULL &&
           s_given(patient->name->family);
}

static bool s_has_place(const Ref__Patient *patient)
{
    const Ref__Patient__Address *address = patient->address;
    return address != NULL && (address->n_lines > 0 || s_given(address->city) ||
                               s_given(address->postal_code));
}

static bool s_is_reachable(const Ref__Referral *referral,
                           const Ref__Patient *patient)
{
    (void)referral;
    if (patient == NULL) {
        return false;
    }
    bool contact = false;
    for (size_t i = 0; i < patient->n_contacts; i++) {
        contact = contact || s_given(patient->contacts[i]->phone) ||
                  s_given(patient->contacts[i]->email);
    }
    return contact || patient->n_phones > 0 || s_given(patient->email) ||
           s_has_place(patient);
}

static bool s_has_reason(const Ref__Referral *referral,
                         const Ref__Patient *patient)
{
    (void)patient;
    return referral->n_diagnoses > 0 || s_given(referral->needs);
}

static bool s_has_physician(const Ref__Referral *referral,
                            const Ref__Patient *patient)
{
    (void)patient;
    return referral->ordering_physician != NULL &&
           s_given(referral->ordering_physician->name);
}

static bool s_physician_agrees(const Ref__Referral *referral,
                               const Ref__Patient *patient)
{
    (void)patient;
    const Ref__Referral__Physician *physician = referral->ordering_physician;
    return physician != NULL && physician->has_agrees_to_sign &&
           physician->agrees_to_sign;
}

static bool s_has_discipline(const Ref__Referral *referral,
                             const Ref__Patient *patient)
{
    (void)patient;
    return referral->n_disciplines > 0;
}

static bool s_has_source_email(const Ref__Referral *referral,
                               const Ref__Patient *patient)
{
    (void)patient;
    return referral->source != NULL && s_given(referral->source->email);
}

/* OASIS guidance to M0104: a valid referral is adequate information (name,
 * address or contact, diagnosis or general needs) and a physician who will give
 * plan of care and orders. */
static const struct need {
    const char *field;
    const char *guard;   /* its name when a command fails on it */
    const char *pointer; /* where a client gives it */
    const char *why;
    bool blocks;
    bool (*known)(const Ref__Referral *referral, const Ref__Patient *patient);
} NEEDS[] = {
    { "patient.name", "patient_name", "/patient/name",
      "a valid referral names the patient (OASIS M0104)", true, s_has_name },
    { "patient.address", "patient_reachable", "/patient/address",
      "a valid referral has an address, a phone or a contact (OASIS M0104)",
      true, s_is_reachable },
    { "diagnoses", "diagnosis_or_needs", "/diagnoses",
      "a valid referral has a diagnosis or the general needs (OASIS M0104)",
      true, s_has_reason },
    { "ordering_physician.name", "ordering_physician",
      "/ordering_physician/name",
      "care is ordered by a physician or allowed practitioner "
      "(42 CFR 484.55(a)(1))",
      true, s_has_physician },
    { "ordering_physician.agrees_to_sign", "physician_agrees",
      "/ordering_physician/agrees_to_sign",
      "the physician gives the plan of care and orders and signs them "
      "(OASIS M0104)",
      true, s_physician_agrees },
    { "disciplines", "disciplines", "/disciplines",
      "the initial visit is a nurse's, or a therapist's when only therapy is "
      "ordered (42 CFR 484.55(a))",
      true, s_has_discipline },
    { "source.email", "source_email", "/source/email",
      "the source is told the outcome", false, s_has_source_email },
};
enum { NEED_COUNT = CN_COUNT(NEEDS) };

static const struct need *s_first_blocking(const Ref__Referral *referral,
                                           const Ref__Patient *patient)
{
    for (size_t i = 0; i < NEED_COUNT; i++) {
        if (NEEDS[i].blocks && !NEEDS[i].known(referral, patient)) {
            return &NEEDS[i];
        }
    }
    return NULL;
}

enum cn_code referral_missing(struct cn_arena *arena,
                              const Ref__Referral *referral,
                              const Ref__Patient *patient,
                              Ref__Referral__Missing ***ret_missing,
                              size_t *ret_count,
                              struct cn_err *err)
{
    Ref__Referral__Missing **missing =
        cn_arena_array(arena, NEED_COUNT, sizeof(void *));
    size_t count = 0;
    for (size_t i = 0; missing != NULL && i < NEED_COUNT; i++) {
        if (NEEDS[i].known(referral, patient)) {
            continue;
        }
        Ref__Referral__Missing *item =
            CN_NEW(arena, ref__referral__missing, Ref__Referral__Missing);
        if (item == NULL) {
            return cn_fail(err, CN_NOMEM, "missing fields");
        }
        item->field = NEEDS[i].field;
        item->why = NEEDS[i].why;
        CN_SET(item, blocks_validity, NEEDS[i].blocks);
        missing[count++] = item;
    }
    if (missing == NULL) {
        return cn_fail(err, CN_NOMEM, "missing fields");
    }
    *ret_missing = missing;
    *ret_count = count;
    return CN_OK;
}

/* ---- commands ---- */

/* Guards to enter a state: validity for valid, and still for accepted. */
static const struct need *s_guard(Ref__Referral__Status to,
                                  const Ref__Referral *referral,
                                  const Ref__Patient *patient)
{
    bool valid = to == STATUS(VALID) || to == STATUS(ACCEPTED);
    return valid ? s_first_blocking(referral, patient) : NULL;
}

/* The next step towards a command that cannot be taken from here. */
static bool s_step(Ref__Referral__Status from, Ref__Referral__Status *ret_to)
{
    for (size_t i = 0; i < FORWARD_COUNT; i++) {
        Ref__Referral__Status to;
        if (referral_move(from, FORWARD[i], &to) && to != from) {
            *ret_to = to;
            return true;
        }
    }
    return false;
}

static enum cn_code s_illegal(const Ref__Referral *referral, struct cn_err *err)
{
    const char *word =
        cn_enum_word(&ref__referral__status__descriptor, (int)referral->status);
    return cn_fail_as(err, CN_CONFLICT, "illegal_state",
                      "a referral that is %s cannot do this",
                      word != NULL ? word : "of an unknown state");
}

static enum cn_code s_guard_failed(const struct need *need, struct cn_err *err)
{
    enum cn_code rc = cn_fail_as(err, CN_CONFLICT, "guard_failed",
                                 "guard %s failed: %s", need->guard, need->why);
    struct cn_field_err *field = &err->fields[0];
    (void)snprintf(field->pointer, sizeof(field->pointer), "%s", need->pointer);
    (void)snprintf(field->word, sizeof(field->word), "%s", need->guard);
    (void)snprintf(field->msg, sizeof(field->msg), "%s", need->why);
    err->field_count = 1;
    return rc;
}

enum cn_code referral_pass(const Ref__Referral *referral,
                           const Ref__Patient *patient,
                           enum referral_command command,
                           struct referral_passage *ret_passage,
                           struct cn_err *err)
{
    struct referral_passage passage = { 0 };
    Ref__Referral__Status at = referral->status;
    const struct need *failed = NULL;
    for (size_t steps = 0; steps <= FORWARD_COUNT; steps++) {
        bool last = referral_move(at, command, &passage.to);
        if (!last && !s_step(at, &passage.to)) {
            break;
        }
        /* Whether the command can be taken at all comes before the guards. */
        if (failed == NULL && passage.to != at) {
            failed = s_guard(passage.to, referral, patient);
        }
        passage.validated |= passage.to == STATUS(VALID) && at != passage.to;
        if (last && failed == NULL) {
            *ret_passage = passage;
            return CN_OK;
        }
        if (last) {
            passage.guard = failed->guard;
            passage.pointer = failed->pointer;
            passage.why = failed->why;
            *ret_passage = passage;
            return s_guard_failed(failed, err);
        }
        at = passage.to;
    }
    return s_illegal(referral, err);
}

/* ---- the clock C01 ---- */

struct soc_facts soc_facts_of(const Ref__Referral *referral)
{
    return (struct soc_facts){
        .valid_at = referral->valid_at,
        .has_return_home = referral->has_return_home_at,
        .return_home_at = referral->return_home_at,
        .ordered_date = referral->ordered_soc_date,
        .ordered_at = referral->ordered_soc_at,
        .zone = referral->time_zone,
    };
}

bool soc_clock(const struct cn_clock_rule *rule,
               const struct soc_facts *facts,
               struct cn_clock *ret_clock)
{
    const struct cn_clock_fact starts[] = {
        { "valid_referral", true, facts->valid_at },
        { "return_home", facts->has_return_home, facts->return_home_at },
    };
    const struct cn_clock_facts given = {
        .starts = starts,
        .start_count = CN_COUNT(starts),
        .ordered_date = facts->ordered_date,
        .ordered_at = facts->ordered_at,
        .zone = facts->zone,
    };
    return cn_clock_apply(rule, &given, ret_clock);
}

/* ---- bringing a referral up to date ---- */

static enum cn_code s_settle_clock(struct cn_arena *arena,
                                   Ref__Referral *referral,
                                   const struct cn_clock_rule *c01,
                                   struct cn_err *err)
{
    struct cn_clock clock;
    const struct soc_facts facts = soc_facts_of(referral);
    if (!soc_clock(c01, &facts, &clock)) {
        return cn_fail(err, CN_INTERNAL, "soc clock: zone or date");
    }
    CN_SET(referral, soc_due_at, clock.due_at);
    referral->soc_due_why = cn_arena_strdup(arena, clock.why);
    return referral->soc_due_why != NULL ? CN_OK
                                         : cn_fail(err, CN_NOMEM, "soc clock");
}

static void s_settle_status(Ref__Referral *referral,
                            const Ref__Patient *patient,
                            int64_t now_at,
                            bool *ret_validated)
{
    struct referral_passage passage;
    struct cn_err ignored = { 0 };
    Ref__Referral__Status to;
    if (s_first_blocking(referral, patient) != NULL) {
        if (referral_move(referral->status, REFERRAL_LAPSE, &to)) {
            referral->status = to;
        }
        return;
    }
    if (referral_pass(referral, patient, REFERRAL_VALIDATE, &passage,
                      &ignored) == CN_OK &&
        passage.validated) {
        referral->status = passage.to;
        *ret_validated = true;
        /* Later detail does not restart the clock. */
        if (!referral->has_valid_at) {
            CN_SET(referral, valid_at, now_at);
        }
    }
}

enum cn_code referral_settle(struct cn_arena *arena,
                             Ref__Referral *referral,
                             const Ref__Patient *patient,
                             const char *zone,
                             const struct cn_clock_rule *c01,
                             int64_t now_at,
                             bool *ret_validated,
                             struct cn_err *err)
{
    assert(referral->has_status);
    bool validated = false;
    enum cn_code rc =
        referral_missing(arena, referral, patient, &referral->missing,
                         &referral->n_missing, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (referral_is_open(referral->status)) {
        bool own = patient != NULL && s_given(patient->time_zone);
        referral->time_zone = own ? patient->time_zone : zone;
        s_settle_status(referral, patient, now_at, &validated);
        if (referral->has_valid_at) {
            rc = s_settle_clock(arena, referral, c01, err);
        }
    }
    if (rc == CN_OK) {
        *ret_validated = validated;
    }
    return rc;
}

/* ---- reasons, names, identifiers ---- */

bool referral_reason_known(const char *code)
{
    static const char *const REASONS[] = {
        "no_capacity",        "out_of_area",     "payer_not_accepted",
        "not_homebound",      "no_skilled_need", "no_ordering_physician",
        "f2f_missing",        "auth_denied",     "patient_refused",
        "chose_other_agency", "hospitalised",    "deceased",
        "unreachable",        "duplicate",       "safety",
        "wrong_service"
    };
    for (size_t i = 0; code != NULL && i < CN_COUNT(REASONS); i++) {
        if (strcmp(code, REASONS[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Base letters of U+00C0..U+017F (Latin-1 Supplement, Latin Extended-A), two
 * columns each; a space ends a single one, "--" is no letter. */
static const char LATIN[] =
    "a a a a a a aec e e e e i i i i d n o o o o o --o u u u u y thss"
    "a a a a a a aec e e e e i i i i d n o o o o o --o u u u u y thy "
    "a a a a a a c c c c c c c c d d d d e e e e e e e e e e g g g g "
    "g g g g h h h h i i i i i i i i i i ijijj j k k k l l l l l l l "
    "l l l n n n n n n n n n o o o o o o oeoer r r r r r s s s s s s "
    "s s t t t t t t u u u u u u u u u u u u w w y y y z z z z z z s ";

/* The next character of valid UTF-8; *ret_size bytes long. */
static uint32_t s_code_point(const char *text, size_t *ret_size)
{
    const unsigned char *c = (const unsigned char *)text;
    size_t size = c[0] < 0x80 ? 1 : c[0] < 0xE0 ? 2 : c[0] < 0xF0 ? 3 : 4;
    uint32_t point = size == 1 ? c[0] : c[0] & (0xFFU >> (size + 1));
    size_t used = 1;
    while (used < size && (c[used] & 0xC0) == 0x80) {
        point = point << 6 | (c[used] & 0x3FU);
        used++;
    }
    *ret_size = used;
    return point;
}

char *name_norm(struct cn_arena *arena, const char *name)
{
    size_t size = name != NULL ? strlen(name) : 0;
    char *out = cn_arena_alloc(arena, 2 * size + 1);
    size_t used = 0;
    size_t step = 0;
    for (size_t i = 0; out != NULL && i < size; i += step) {
        uint32_t point = s_code_point(name + i, &step);
        if (point >= 'A' && point <= 'Z') {
            out[used++] = (char)(point - 'A' + 'a');
        } else if ((point >= 'a' && point <= 'z') ||
                   (point >= '0' && point <= '9')) {
            out[used++] = (char)point;
        } else if (point >= 0xC0 && point <= 0x17F) {
            const char *base = LATIN + 2 * (size_t)(point - 0xC0);
            for (int k = 0; k < 2 && base[k] >= 'a'; k++) {
                out[used++] = base[k];
            }
        } else if (point >= 0x180 && !(point >= 0x300 && point <= 0x36F) &&
                   !(point >= 0x2000 && point <= 0x206F)) {
            memcpy(out + used, name + i, step);
            used += step;
        }
    }
    return out;
}

bool identifier_is_ssn(const Ref__Patient__Identifier *identifier)
{
    return (identifier->type != NULL && strcmp(identifier->type, "SS") == 0) ||
           (identifier->system != NULL &&
            strcmp(identifier->system, "USSSA") == 0);
}

size_t patient_keys(const Ref__Patient *patient,
                    const char **systems,
                    const char **values,
                    size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < patient->n_identifiers && count < max; i++) {
        const Ref__Patient__Identifier *identifier = patient->identifiers[i];
        bool repeated = false;
        if (!s_given(identifier->system) || !s_given(identifier->value) ||
            identifier_is_ssn(identifier)) {
            continue;
        }
        for (size_t j = 0; j < count; j++) {
            repeated =
                repeated || (strcmp(systems[j], identifier->system) == 0 &&
                             strcmp(values[j], identifier->value) == 0);
        }
        if (!repeated) {
            systems[count] = identifier->system;
            values[count] = identifier->value;
            count++;
        }
    }
    return count;
}
