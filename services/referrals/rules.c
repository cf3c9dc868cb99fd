/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/rules.h"

#include "cairn/referrals.resources.h"
#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include <stdio.h>
#include <string.h>

#define STATUS(word) REF__REFERRAL__STATUS__##word

/* ---- legal moves ---- */

#define FROM(state) CN_STATE(STATUS(state))
/* Before a decision, and before admission. */
#define UNDECIDED                                                              \
    (FROM(CAPTURED) | FROM(MATCHING) | FROM(INCOMPLETE) | FROM(VALID) |        \
     FROM(VERIFYING) | FROM(REVIEW))
#define OPEN (UNDECIDED | FROM(ACCEPTED) | FROM(SOC_SCHEDULED))

/* ask, reopen, withdraw, not_admit and close have no sender yet. */
static const struct cn_move REFERRAL_MOVES[] = {
    { "receive", CN_UNMADE, STATUS(CAPTURED), "referral.received" },
    { "match", FROM(CAPTURED), STATUS(MATCHING), NULL },
    { "ask", FROM(MATCHING), STATUS(INCOMPLETE), NULL },
    { "validate", FROM(MATCHING) | FROM(INCOMPLETE), STATUS(VALID),
      "referral.validated" },
    { "validate", FROM(VALID), STATUS(VALID), NULL },
    /* Something that validity needs is gone again. */
    { "lapse", FROM(VALID), STATUS(INCOMPLETE), NULL },
    { "verify", FROM(VALID), STATUS(VERIFYING), NULL },
    { "review", FROM(VERIFYING), STATUS(REVIEW), NULL },
    { "accept", FROM(REVIEW), STATUS(ACCEPTED), "referral.accepted" },
    /* The start-of-care visit is booked, lost, made. */
    { "schedule", FROM(ACCEPTED) | FROM(SOC_SCHEDULED), STATUS(SOC_SCHEDULED),
      "referral.scheduled" },
    { "unschedule", FROM(SOC_SCHEDULED), STATUS(ACCEPTED), "referral.updated" },
    { "admit", FROM(SOC_SCHEDULED), STATUS(ADMITTED), "referral.admitted" },
    { "not_admit", FROM(ACCEPTED) | FROM(SOC_SCHEDULED), STATUS(NOT_ADMITTED),
      NULL },
    { "decline", OPEN, STATUS(DECLINED), "referral.declined" },
    { "reopen", FROM(DECLINED), STATUS(REVIEW), NULL },
    { "withdraw", OPEN, STATUS(WITHDRAWN), NULL },
    { "close",
      FROM(ADMITTED) | FROM(DECLINED) | FROM(NOT_ADMITTED) | FROM(WITHDRAWN),
      STATUS(CLOSED), NULL },
};

const struct cn_moves ref_referral_moves = {
    .of = "referral",
    .states = &ref__referral__status__descriptor,
    .rows = REFERRAL_MOVES,
    .count = CN_COUNT(REFERRAL_MOVES),
    .ends = FROM(CLOSED),
};

/* An episode is opened; what holds it and ends it has no command yet. */
static const struct cn_move EPISODE_MOVES[] = {
    { "open", CN_UNMADE, REF__EPISODE__STATUS__ACTIVE, "episode.opened" },
};

const struct cn_moves ref_episode_moves = {
    .of = "episode",
    .states = &ref__episode__status__descriptor,
    .rows = EPISODE_MOVES,
    .count = CN_COUNT(EPISODE_MOVES),
    .ends = CN_STATE(REF__EPISODE__STATUS__ACTIVE),
    .unused = CN_STATE(REF__EPISODE__STATUS__ON_HOLD) |
              CN_STATE(REF__EPISODE__STATUS__DISCHARGED),
};

/* The way of a referral that nothing stops: a command passes what lies between
 * in this order. */
static const char *const FORWARD[] = { "match", "validate", "verify",
                                       "review" };

const char *const referral_open_words[REFERRAL_OPEN_COUNT] = {
    "captured",  "matching", "incomplete", "valid",
    "verifying", "review",   "accepted",   "soc_scheduled"
};

bool referral_is_open(Ref__Referral__Status status)
{
    return (CN_STATE(status) & OPEN) != 0;
}

/* ---- what a valid referral needs ---- */

static bool s_text_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool s_has_name(const Ref__Referral *referral,
                       const Ref__Patient *patient)
{
    (void)referral;
    return patient->name != NULL && s_text_given(patient->name->family);
}

static bool s_has_place(const Ref__Patient *patient)
{
    const Ref__Patient__Address *address = patient->address;
    return address != NULL &&
           (address->n_lines > 0 || s_text_given(address->city) ||
            s_text_given(address->postal_code));
}

static bool s_is_reachable(const Ref__Referral *referral,
                           const Ref__Patient *patient)
{
    (void)referral;
    bool contact = false;
    for (size_t i = 0; i < patient->n_contacts; i++) {
        contact = contact || s_text_given(patient->contacts[i]->phone) ||
                  s_text_given(patient->contacts[i]->email);
    }
    return contact || patient->n_phones > 0 || s_text_given(patient->email) ||
           s_has_place(patient);
}

static bool s_has_reason(const Ref__Referral *referral,
                         const Ref__Patient *patient)
{
    (void)patient;
    return referral->n_diagnoses > 0 || s_text_given(referral->needs);
}

static bool s_has_physician(const Ref__Referral *referral,
                            const Ref__Patient *patient)
{
    (void)patient;
    return referral->ordering_physician != NULL &&
           s_text_given(referral->ordering_physician->name);
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
    return referral->source != NULL && s_text_given(referral->source->email);
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

void referral_missing_set(struct cn_arena *arena,
                          Ref__Referral *referral,
                          const Ref__Patient *patient)
{
    Ref__Referral__Missing **missing =
        cn_arena_array(arena, NEED_COUNT, sizeof(void *));
    size_t count = 0;
    for (size_t i = 0; i < NEED_COUNT; i++) {
        if (NEEDS[i].known(referral, patient)) {
            continue;
        }
        Ref__Referral__Missing *item =
            CN_NEW(arena, ref__referral__missing, Ref__Referral__Missing);
        item->field = NEEDS[i].field;
        item->why = NEEDS[i].why;
        CN_SET(item, blocks_validity, NEEDS[i].blocks);
        missing[count++] = item;
    }
    referral->missing = missing;
    referral->n_missing = count;
}

/* ---- commands ---- */

/* The next move of a command: the command itself, or a step of the way towards
 * it. NULL: it cannot be taken from this state, nor from one on the way. */
static const struct cn_move *s_move_next(int status, const char *command)
{
    const struct cn_move *first = NULL;
    for (size_t steps = 0; steps <= CN_COUNT(FORWARD); steps++) {
        const struct cn_move *move =
            cn_move_find(&ref_referral_moves, command, status);
        if (move != NULL) {
            return first != NULL ? first : move;
        }
        for (size_t i = 0; i < CN_COUNT(FORWARD) && move == NULL; i++) {
            move = cn_move_find(&ref_referral_moves, FORWARD[i], status);
            move = move != NULL && move->to != status ? move : NULL;
        }
        if (move == NULL) {
            return NULL;
        }
        first = first != NULL ? first : move;
        status = move->to;
    }
    return NULL;
}

/* Validity is the guard of the state valid, and still of accepted. */
static void
s_validity_guard(struct cn_op *op, const struct cn_record *record, int to)
{
    const Ref__Referral *referral = record->body;
    bool guarded = to == STATUS(VALID) || to == STATUS(ACCEPTED);
    const struct need *need =
        guarded && to != (int)referral->status
            ? s_first_blocking(referral, record->beside->body)
            : NULL;
    if (need == NULL) {
        return;
    }
    cn_refuse(op, CN_CONFLICT, "guard_failed", "guard %s failed: %s",
              need->guard, need->why);
    struct cn_field_err *field = &op->err->fields[0];
    (void)snprintf(field->pointer, sizeof(field->pointer), "%s", need->pointer);
    (void)snprintf(field->word, sizeof(field->word), "%s", need->guard);
    (void)snprintf(field->msg, sizeof(field->msg), "%s", need->why);
    op->err->field_count = 1;
}

void referral_pass(struct cn_op *op,
                   struct cn_record *record,
                   const char *command)
{
    const Ref__Referral *referral = record->body;
    bool last = false;
    while (!cn_failed(op) && !last) {
        const struct cn_move *move =
            s_move_next((int)referral->status, command);
        const char *taken = move != NULL ? move->command : command;
        last = move == NULL || strcmp(taken, command) == 0;
        if (move != NULL) {
            s_validity_guard(op, record, move->to);
        }
        /* Without a move this refuses. */
        cn_move(op, record, taken);
    }
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

static void s_settle_clock(struct cn_op *op,
                           Ref__Referral *referral,
                           const struct cn_clock_rule *c01)
{
    struct cn_clock clock;
    const struct soc_facts facts = soc_facts_of(referral);
    if (!soc_clock(c01, &facts, &clock)) {
        cn_refuse(op, CN_INTERNAL, NULL, "soc clock: zone or date");
        return;
    }
    CN_SET(referral, soc_due_at, clock.due_at);
    referral->soc_due_why = cn_arena_strdup(op->arena, clock.why);
}

static void s_settle_status(struct cn_op *op, struct cn_record *record)
{
    Ref__Referral *referral = record->body;
    if (s_first_blocking(referral, record->beside->body) != NULL) {
        if (cn_may(record, "lapse")) {
            cn_move(op, record, "lapse");
        }
    } else if (referral->status != STATUS(VALID) &&
               s_move_next((int)referral->status, "validate") != NULL) {
        referral_pass(op, record, "validate");
        /* Later detail does not restart the clock. */
        if (!referral->has_valid_at) {
            CN_SET(referral, valid_at, op->now_at);
        }
    }
}

void referral_settle(struct cn_op *op,
                     struct cn_record *record,
                     const struct cn_clock_rule *c01)
{
    Ref__Referral *referral = record->body;
    const Ref__Patient *patient = record->beside->body;
    if (cn_failed(op)) {
        return;
    }
    referral_missing_set(op->arena, referral, patient);
    if (!referral_is_open(referral->status)) {
        return;
    }
    bool own = s_text_given(patient->time_zone);
    referral->time_zone = own ? patient->time_zone : record->also;
    s_settle_status(op, record);
    if (referral->has_valid_at) {
        s_settle_clock(op, referral, c01);
    }
}

/* ---- reasons, names, identifiers ---- */

bool referral_reason_known(const char *code)
{
    int reason;
    return code != NULL &&
           cn_enum_value(
               &ref__decline_referral_request__reason_code__descriptor, code,
               &reason);
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
    for (size_t i = 0; i < size; i += step) {
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
        if (!s_text_given(identifier->system) ||
            !s_text_given(identifier->value) || identifier_is_ssn(identifier)) {
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
