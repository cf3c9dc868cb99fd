/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/rules.h"

#include "cairn/referrals.resources.h"
#include "common/base/array.h"
#include "common/wire/fold.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "common/wire/text.h"
#include "services/referrals/warning.h"

#include <ctype.h>
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
      "referral.not_admitted" },
    { "decline", OPEN, STATUS(DECLINED), "referral.declined" },
    { "reopen", FROM(DECLINED), STATUS(REVIEW), NULL },
    { "withdraw", OPEN, STATUS(WITHDRAWN), "referral.withdrawn" },
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

bool referral_is_undecided(Ref__Referral__Status status)
{
    return (CN_STATE(status) & UNDECIDED) != 0;
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
    bool lines = false;
    for (size_t i = 0; address != NULL && i < address->n_lines; i++) {
        lines = lines || s_text_given(address->lines[i]);
    }
    return address != NULL && (lines || s_text_given(address->city) ||
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
    bool diagnosis = false;
    for (size_t i = 0; i < referral->n_diagnoses; i++) {
        diagnosis = diagnosis || s_text_given(referral->diagnoses[i]->code) ||
                    s_text_given(referral->diagnoses[i]->display);
    }
    return diagnosis || s_text_given(referral->needs);
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

/* Identity and validity are the guards of the state valid, and still of
 * accepted. */
static void
s_validity_guard(struct cn_op *op, const struct cn_record *record, int to)
{
    const Ref__Referral *referral = record->body;
    bool guarded = to == STATUS(VALID) || to == STATUS(ACCEPTED);
    if (!guarded || to == (int)referral->status) {
        return;
    }
    if (referral_in_doubt(referral)) {
        cn_refuse_guard(op, "identity", "/identity",
                        "say which patient it is: link-patient, or identity "
                        "different");
        return;
    }
    const struct need *need = s_first_blocking(referral, record->beside->body);
    if (need != NULL) {
        cn_refuse_guard(op, need->guard, need->pointer, need->why);
    }
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
    if (referral_in_doubt(referral)) {
        if (cn_may(record, "match")) {
            cn_move(op, record, "match");
        }
    } else if (s_first_blocking(referral, record->beside->body) != NULL) {
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

/* ---- what a client says of a patient ---- */

static void s_week_check(struct cn_op *op,
                         const char *pointer,
                         bool has_weekday,
                         const char *from,
                         const char *to)
{
    if (!has_weekday || from == NULL || to == NULL) {
        cn_refuse_field(op, pointer, "required", "needs weekday, from and to");
    } else if (strcmp(from, to) == 0) {
        cn_refuse_field(op, pointer, "invalid_value",
                        "must not end when it begins");
    }
}

void patient_check(struct cn_op *op,
                   const Ref__Patient *patient,
                   const char *pointer)
{
    const Ref__Patient__Preferences *preferences = patient->preferences;
    char at[CN_ERR_POINTER_MAX];
    for (size_t i = 0; i < patient->n_commitments; i++) {
        const Ref__Patient__Commitment *row = patient->commitments[i];
        (void)snprintf(at, sizeof(at), "%s/commitments/%zu", pointer, i);
        s_week_check(op, at, row->n_weekdays > 0, row->from, row->to);
    }
    for (size_t i = 0; preferences != NULL && i < preferences->n_windows; i++) {
        const Ref__Patient__Window *row = preferences->windows[i];
        (void)snprintf(at, sizeof(at), "%s/preferences/windows/%zu", pointer,
                       i);
        s_week_check(op, at, row->has_weekday, row->from, row->to);
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

char *name_norm(struct cn_arena *arena, const char *name)
{
    return cn_text_folded(arena, name);
}

/* A copy without blanks at its ends, with one blank in place of each run, and
 * without what shows nothing; full-width characters as usual ones. */
static char *s_blanks_even(struct cn_arena *arena, const char *text)
{
    if (text == NULL) {
        return NULL;
    }
    size_t size = strlen(text);
    size_t used = 0;
    size_t step = 0;
    const char *at = cn_text_trim(text, &size);
    char *out = cn_arena_alloc(arena, size + 1);
    for (const char *end = at + size; at < end; at += step) {
        uint32_t point = cn_text_point(at, &step);
        size_t shown = step;
        (void)cn_text_trim(at, &shown);
        bool is_invisible = point == 0xFEFF || point == 0x2060 ||
                            (point >= 0x200B && point <= 0x200F);
        if (point >= 0xFF01 && point <= 0xFF5E) {
            out[used++] = (char)(point - 0xFEE0);
        } else if (shown > 0) {
            memcpy(out + used, at, step);
            used += step;
        } else if (!is_invisible && out[used - 1] != ' ') {
            out[used++] = ' ';
        }
    }
    return out;
}

const char *key_system(struct cn_arena *arena, const char *system)
{
    char *key = s_blanks_even(arena, system);
    for (char *c = key; c != NULL && *c != '\0'; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    return key;
}

const char *key_value(struct cn_arena *arena, const char *value)
{
    return s_blanks_even(arena, value);
}

static bool
s_is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; text != NULL && i < count; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ddd-dd-dddd, as only a social security number is written. */
static bool s_looks_like_ssn(const char *value)
{
    return value != NULL && strlen(value) == 11 &&
           strspn(value, "0123456789") == 3 && value[3] == '-' &&
           strspn(value + 4, "0123456789") == 2 && value[6] == '-' &&
           strspn(value + 7, "0123456789") == 4;
}

/* Does the word stand in the text, by itself? */
static bool s_has_word(const char *text, const char *word)
{
    size_t size = strlen(word);
    const char *at = text != NULL ? strcasestr(text, word) : NULL;
    while (at != NULL && ((at > text && isalpha((unsigned char)at[-1])) ||
                          isalpha((unsigned char)at[size]))) {
        at = strcasestr(at + 1, word);
    }
    return at != NULL;
}

bool identifier_is_ssn(const Ref__Patient__Identifier *identifier)
{
    static const char *const TYPES[] = { "SS", "SSN", "SSA" };
    static const char *const SYSTEMS[] = { "USSSA", "2.16.840.1.113883.4.1",
                                           "urn:oid:2.16.840.1.113883.4.1",
                                           "http://hl7.org/fhir/sid/us-ssn" };
    return s_is_one_of(identifier->type, TYPES, CN_COUNT(TYPES)) ||
           s_is_one_of(identifier->system, SYSTEMS, CN_COUNT(SYSTEMS)) ||
           s_has_word(identifier->system, "SSA") ||
           s_has_word(identifier->system, "SSN") ||
           s_has_word(identifier->system, "social security") ||
           (identifier->type == NULL && s_looks_like_ssn(identifier->value));
}

bool identifier_is_placeholder(const char *value)
{
    static const char *const WORDS[] = {
        "UNKNOWN",   "UNKN",    "UNK",           "NONE",      "NULL",
        "NIL",       "NA",      "N/A",           "N.A.",      "TEST",
        "TBD",       "PENDING", "NEW",           "TEMP",      "MISSING",
        "NO MRN",    "NOMRN",   "NOT AVAILABLE", "NOT KNOWN", "123456789",
        "1234567890"
    };
    size_t size = value != NULL ? strlen(value) : 0;
    bool repeats = size > 0;
    for (size_t i = 1; i < size; i++) {
        repeats = repeats && value[i] == value[0];
    }
    /* 0, -, ?, 99999: one character again and again. */
    return s_is_one_of(value, WORDS, CN_COUNT(WORDS)) ||
           (repeats && (size >= 4 || strchr("0-?.xX", value[0]) != NULL));
}

size_t patient_keys(struct cn_arena *arena,
                    const Ref__Patient *patient,
                    const char **systems,
                    const char **values,
                    size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < patient->n_identifiers && count < max; i++) {
        const Ref__Patient__Identifier *identifier = patient->identifiers[i];
        const char *system = key_system(arena, identifier->system);
        const char *value = key_value(arena, identifier->value);
        bool repeated = false;
        if (!s_text_given(system) || !s_text_given(value) ||
            identifier_is_ssn(identifier)) {
            continue;
        }
        for (size_t j = 0; j < count; j++) {
            repeated = repeated || (strcmp(systems[j], system) == 0 &&
                                    strcmp(values[j], value) == 0);
        }
        if (!repeated) {
            systems[count] = system;
            values[count] = value;
            count++;
        }
    }
    return count;
}

/* ---- persons ---- */

static const char *s_given_name(const Ref__Patient *patient)
{
    const Ref__Patient__Name *name = patient->name;
    return name != NULL && name->n_given > 0 ? name->given[0] : NULL;
}

/* Do two names agree? 1 yes, -1 no, 0: one of them is not known. */
static int s_names_agree(struct cn_arena *arena, const char *a, const char *b)
{
    const char *one = name_norm(arena, a);
    const char *two = name_norm(arena, b);
    if (!s_text_given(one) || !s_text_given(two)) {
        return 0;
    }
    /* An initial stands for its name. */
    bool initial = (strlen(one) == 1 || strlen(two) == 1) && one[0] == two[0];
    return initial || strcmp(one, two) == 0 ? 1 : -1;
}

static int s_days_agree(const char *a, const char *b)
{
    if (!s_text_given(a) || !s_text_given(b)) {
        return 0;
    }
    return strcmp(a, b) == 0 ? 1 : -1;
}

/* The first word of a given name: some write the second one behind it. */
static const char *s_first_word(struct cn_arena *arena, const char *name)
{
    return name != NULL ? cn_arena_strndup(arena, name, strcspn(name, " "))
                        : NULL;
}

/* What agrees of two patients: 1 yes, -1 no, 0 not known of both. */
struct likeness {
    int given;
    int family;
    int suffix;
    int born;
    bool sexes_differ;
};

static struct likeness
s_likeness(struct cn_arena *arena, const Ref__Patient *a, const Ref__Patient *b)
{
    const Ref__Patient__Name *one = a->name;
    const Ref__Patient__Name *two = b->name;
    return (struct likeness){
        .given = s_names_agree(arena, s_first_word(arena, s_given_name(a)),
                               s_first_word(arena, s_given_name(b))),
        .family = s_names_agree(arena, one != NULL ? one->family : NULL,
                                two != NULL ? two->family : NULL),
        .suffix = s_names_agree(arena, one != NULL ? one->suffix : NULL,
                                two != NULL ? two->suffix : NULL),
        .born = s_days_agree(a->birth_date, b->birth_date),
        .sexes_differ = a->has_sex && b->has_sex && a->sex != b->sex,
    };
}

enum person_match person_compare(struct cn_arena *arena,
                                 const Ref__Patient *a,
                                 const Ref__Patient *b)
{
    const struct likeness like = s_likeness(arena, a, b);
    bool renamed = like.family < 0 && like.given > 0 && like.born > 0 &&
                   !like.sexes_differ;
    if (like.born < 0 || like.given < 0 || (like.family < 0 && !renamed) ||
        (like.suffix < 0 && like.born == 0)) {
        return PERSON_OTHER;
    }
    return renamed || (like.given > 0 && (like.family > 0 || like.born > 0))
               ? PERSON_SAME
               : PERSON_UNKNOWN;
}

bool person_agrees_in_part(struct cn_arena *arena,
                           const Ref__Patient *a,
                           const Ref__Patient *b)
{
    const struct likeness like = s_likeness(arena, a, b);
    return (like.given > 0) + (like.family > 0) + (like.born > 0) >= 2;
}

bool person_shares_key(struct cn_arena *arena,
                       const Ref__Patient *a,
                       const Ref__Patient *b)
{
    enum { MAX = 20 };
    const char *systems[2][MAX];
    const char *values[2][MAX];
    size_t one = patient_keys(arena, a, systems[0], values[0], MAX);
    size_t two = patient_keys(arena, b, systems[1], values[1], MAX);
    for (size_t i = 0; i < one; i++) {
        for (size_t j = 0; j < two; j++) {
            if (strcmp(systems[0][i], systems[1][j]) == 0 &&
                strcmp(values[0][i], values[1][j]) == 0 &&
                !identifier_is_placeholder(values[0][i])) {
                return true;
            }
        }
    }
    return false;
}

bool person_numbers_differ(struct cn_arena *arena,
                           const Ref__Patient *a,
                           const Ref__Patient *b)
{
    const char *system = NULL;
    const char *value = NULL;
    return patient_keys(arena, a, &system, &value, 1) == 1 &&
           patient_keys(arena, b, &system, &value, 1) == 1 &&
           !person_shares_key(arena, a, b);
}

/* ---- whose number ---- */

void referral_key(struct cn_arena *arena,
                  const Ref__Referral *referral,
                  const char **ret_system,
                  const char **ret_number)
{
    const Ref__Referral__Source *source = referral->source;
    const char *system =
        key_system(arena, source != NULL ? source->system : NULL);
    const char *number = referral->source_key;
    if (number == NULL) {
        number = key_value(arena, source != NULL ? source->external_id : NULL);
    }
    bool whole = s_text_given(system) && s_text_given(number);
    *ret_system = whole ? system : NULL;
    *ret_number = whole ? number : NULL;
}

const char *referral_key_of_person(struct cn_arena *arena,
                                   const char *number,
                                   const Ref__Patient *patient)
{
    const Ref__Patient__Name *name = patient->name;
    const char *const born =
        patient->birth_date != NULL ? patient->birth_date : "";
    const char *person = cn_arena_printf(
        arena, "%s|%s|%s", name_norm(arena, name != NULL ? name->family : NULL),
        name_norm(arena, s_given_name(patient)), born);
    uint8_t hash[CN_SHA256_SIZE];
    cn_sha256((struct cn_bytes){ (const uint8_t *)person, strlen(person) },
              hash);
    return cn_arena_printf(arena, "%s #%02x%02x%02x%02x%02x%02x%02x%02x",
                           key_value(arena, number), hash[0], hash[1], hash[2],
                           hash[3], hash[4], hash[5], hash[6], hash[7]);
}

bool referral_in_doubt(const Ref__Referral *referral)
{
    return referral->has_identity &&
           referral->identity == REF__REFERRAL__IDENTITY__DISPUTED;
}

void referral_identify(struct cn_arena *arena,
                       Ref__Referral *referral,
                       Ref__Referral__Identity identity)
{
    CN_SET(referral, identity, identity);
    referral_unwarn(arena, referral, "identity_disputed");
    referral_unwarn(arena, referral, "patient_ambiguous");
    referral_unwarn(arena, referral, "duplicate_suspected");
}
