/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7_referral.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/contract/service.h"
#include "common/wire/message.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Most of a list that is taken; as the contract's own bounds. */
enum {
    IDENTIFIERS_MAX = 20,
    PHONES_MAX = 8,
    CONTACTS_MAX = 12,
    DIAGNOSES_MAX = 30,
    GIVEN_MAX = 8,
    EXTERNAL_ID_MAX = 100,
    WARNINGS_MAX = 2
};

/* The message while it is read. failed: memory was short. */
struct reader {
    const struct hl7 *message;
    struct cn_arena *arena;
    bool shortened;
    bool failed;
};

/* ---- texts ---- */

/* The text cut to max bytes, never inside a UTF-8 character. */
static const char *s_fit(struct reader *self, const char *text, size_t max)
{
    if (text == NULL || strlen(text) <= max) {
        return text;
    }
    while (max > 0 && ((unsigned char)text[max] & 0xC0) == 0x80) {
        max--;
    }
    const char *fitted = cn_arena_strndup(self->arena, text, max);
    self->shortened = true;
    self->failed = self->failed || fitted == NULL;
    return fitted;
}

static const char *s_text(struct reader *self,
                          const struct hl7_segment *segment,
                          int field,
                          int component,
                          size_t max)
{
    return s_fit(self, hl7_text(self->message, segment, field, 1, component),
                 max);
}

static const char *s_first(const char *a, const char *b)
{
    return a != NULL ? a : b;
}

/* Joins what is given by single spaces; NULL when nothing is. */
static const char *
s_join(struct reader *self, const char *const *parts, size_t count, size_t max)
{
    size_t size = 1;
    for (size_t i = 0; i < count; i++) {
        size += parts[i] != NULL ? strlen(parts[i]) + 1 : 0;
    }
    char *text = cn_arena_alloc(self->arena, size);
    size_t used = 0;
    for (size_t i = 0; text != NULL && i < count; i++) {
        if (parts[i] != NULL) {
            used += (size_t)snprintf(text + used, size - used, "%s%s",
                                     used > 0 ? " " : "", parts[i]);
        }
    }
    self->failed = self->failed || text == NULL;
    return used > 0 ? s_fit(self, text, max) : NULL;
}

static const char *s_lower(struct reader *self, const char *text)
{
    char *lower = cn_arena_strdup(self->arena, text);
    for (char *c = lower; c != NULL && *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    self->failed = self->failed || (text != NULL && lower == NULL);
    return lower;
}

/* A name for people from XPN or PLN order: given, middle, family, suffix. */
static const char *s_name(struct reader *self,
                          const struct hl7_segment *segment,
                          int field,
                          size_t max)
{
    const char *const parts[] = {
        hl7_text(self->message, segment, field, 1, 2),
        hl7_text(self->message, segment, field, 1, 3),
        hl7_text(self->message, segment, field, 1, 1),
        hl7_text(self->message, segment, field, 1, 4),
    };
    return s_join(self, parts, 4, max);
}

/* HL7 dates begin YYYYMMDD; as YYYY-MM-DD, or NULL. */
static const char *
s_date(struct reader *self, const struct hl7_segment *segment, int field)
{
    const char *sent = hl7_text(self->message, segment, field, 1, 1);
    struct cn_date date;
    if (sent == NULL || strspn(sent, "0123456789") < 8) {
        return NULL;
    }
    const char *text = cn_arena_printf(self->arena, "%.4s-%.2s-%.2s", sent,
                                       sent + 4, sent + 6);
    self->failed = self->failed || text == NULL;
    return text != NULL && cn_date_parse(text, &date) ? text : NULL;
}

/* A field as it was sent, for the record. */
static const char *
s_sent(struct reader *self, const struct hl7_segment *segment, int field)
{
    return s_text(self, segment, field, 1, 60);
}

/* ---- telecommunication (XTN) ---- */

enum telecom { TELECOM_PHONE, TELECOM_FAX, TELECOM_EMAIL, TELECOM_NONE };

struct telecom_text {
    enum telecom kind;
    const char *text;
};

static bool s_is_phone(const char *text)
{
    size_t digits = 0;
    for (const char *c = text; c != NULL && *c != '\0'; c++) {
        if (strchr("0123456789 +-().x", *c) == NULL) {
            return false;
        }
        digits += isdigit((unsigned char)*c) ? 1 : 0;
    }
    return digits >= 7 && digits <= 20;
}

/* XTN: 1 number as text, 2 use, 3 equipment, 4 e-mail, 6 area, 7 local, 8
 * extension, 12 unformatted. Which of them is filled differs by sender. */
static struct telecom_text s_telecom(struct reader *self,
                                     const struct hl7_segment *segment,
                                     int field,
                                     int repetition)
{
    const struct hl7 *message = self->message;
    const char *one = hl7_text(message, segment, field, repetition, 1);
    const char *kind = hl7_text(message, segment, field, repetition, 3);
    const char *mail = hl7_text(message, segment, field, repetition, 4);
    const char *const number[] = {
        hl7_text(message, segment, field, repetition, 6),
        hl7_text(message, segment, field, repetition, 7)
    };
    mail = mail == NULL && one != NULL && strchr(one, '@') != NULL ? one : mail;
    if (mail != NULL && strchr(mail, '@') != NULL && strlen(mail) <= 254) {
        return (struct telecom_text){ TELECOM_EMAIL, mail };
    }
    const char *text = hl7_text(message, segment, field, repetition, 12);
    text = s_first(text, number[1] != NULL ? s_join(self, number, 2, 40) : one);
    if (!s_is_phone(text)) {
        return (struct telecom_text){ TELECOM_NONE, NULL };
    }
    bool fax = kind != NULL && strcasecmp(kind, "FX") == 0;
    return (struct telecom_text){ fax ? TELECOM_FAX : TELECOM_PHONE, text };
}

/* The first of a kind in the field. */
static const char *s_telecom_of(struct reader *self,
                                const struct hl7_segment *segment,
                                int field,
                                enum telecom kind)
{
    int count = hl7_repetitions(self->message, segment, field);
    for (int i = 1; i <= count; i++) {
        struct telecom_text found = s_telecom(self, segment, field, i);
        if (found.kind == kind) {
            return found.text;
        }
    }
    return NULL;
}

/* ---- patient ---- */

/* HL7 table 0203 codes are short words; what is shifted into CX.5 is none. */
static bool s_is_type(const char *text)
{
    return text != NULL && strlen(text) <= 5 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == strlen(text);
}

/* CX: 1 id, 4 authority, 5 type, 6 facility. Senders leave the authority out
 * and name the facility instead. */
static void s_identifiers(struct reader *self,
                          const struct hl7_segment *pid,
                          Ref__Patient *patient)
{
    int count = hl7_repetitions(self->message, pid, 3);
    patient->identifiers =
        cn_arena_array(self->arena, IDENTIFIERS_MAX, sizeof(void *));
    for (int i = 1; patient->identifiers != NULL && i <= count &&
                    patient->n_identifiers < IDENTIFIERS_MAX;
         i++) {
        const char *value = hl7_text(self->message, pid, 3, i, 1);
        Ref__Patient__Identifier *identifier = CN_NEW(
            self->arena, ref__patient__identifier, Ref__Patient__Identifier);
        if (identifier == NULL || value == NULL) {
            self->failed = self->failed || identifier == NULL;
            continue;
        }
        const char *authority = hl7_text(self->message, pid, 3, i, 4);
        const char *type = hl7_text(self->message, pid, 3, i, 5);
        authority = s_first(authority, hl7_text(self->message, pid, 3, i, 6));
        bool ssn = authority != NULL && (strcmp(authority, "USSSA") == 0 ||
                                         strcmp(authority, "SSA") == 0);
        identifier->value = s_fit(self, value, 100);
        identifier->system = s_fit(self, authority, 200);
        identifier->type = ssn ? "SS" : s_is_type(type) ? type : NULL;
        patient->identifiers[patient->n_identifiers++] = identifier;
    }
    self->failed = self->failed || patient->identifiers == NULL;
}

static void s_patient_name(struct reader *self,
                           const struct hl7_segment *pid,
                           Ref__Patient *patient)
{
    Ref__Patient__Name *name =
        CN_NEW(self->arena, ref__patient__name, Ref__Patient__Name);
    const char **given = cn_arena_array(self->arena, GIVEN_MAX, sizeof(*given));
    if (name == NULL || given == NULL) {
        self->failed = true;
        return;
    }
    name->family = s_text(self, pid, 5, 1, 100);
    for (int component = 2; component <= 3; component++) {
        const char *text = s_text(self, pid, 5, component, 100);
        if (text != NULL) {
            given[name->n_given++] = text;
        }
    }
    name->given = given;
    name->suffix = s_text(self, pid, 5, 4, 20);
    if (name->family != NULL || name->n_given > 0) {
        patient->name = name;
    }
}

static bool s_is_postal_code(const char *text)
{
    size_t digits = text != NULL ? strspn(text, "0123456789") : 0;
    return digits == 5 &&
           (text[5] == '\0' || (text[5] == '-' && strlen(text) == 10 &&
                                strspn(text + 6, "0123456789") == 4));
}

static void s_address(struct reader *self,
                      const struct hl7_segment *pid,
                      Ref__Patient *patient)
{
    Ref__Patient__Address *address =
        CN_NEW(self->arena, ref__patient__address, Ref__Patient__Address);
    const char **lines = cn_arena_array(self->arena, 2, sizeof(*lines));
    if (address == NULL || lines == NULL) {
        self->failed = true;
        return;
    }
    for (int component = 1; component <= 2; component++) {
        const char *text = s_text(self, pid, 11, component, 200);
        if (text != NULL) {
            lines[address->n_lines++] = text;
        }
    }
    address->lines = lines;
    address->city = s_text(self, pid, 11, 3, 100);
    const char *state = hl7_text(self->message, pid, 11, 1, 4);
    address->state = state != NULL && strlen(state) == 2 ? state : NULL;
    const char *code = hl7_text(self->message, pid, 11, 1, 5);
    address->postal_code = s_is_postal_code(code) ? code : NULL;
    if (address->n_lines > 0 || address->city != NULL ||
        address->postal_code != NULL) {
        patient->address = address;
    }
}

/* PID-13 home, PID-14 business. */
static void s_phones(struct reader *self,
                     const struct hl7_segment *pid,
                     Ref__Patient *patient)
{
    patient->phones =
        cn_arena_array(self->arena, PHONES_MAX, sizeof(*patient->phones));
    self->failed = self->failed || patient->phones == NULL;
    for (int field = 13; patient->phones != NULL && field <= 14; field++) {
        int count = hl7_repetitions(self->message, pid, field);
        for (int i = 1; i <= count && patient->n_phones < PHONES_MAX; i++) {
            struct telecom_text found = s_telecom(self, pid, field, i);
            if (found.kind == TELECOM_PHONE) {
                patient->phones[patient->n_phones++] = found.text;
            } else if (found.kind == TELECOM_EMAIL && patient->email == NULL) {
                patient->email = found.text;
            }
        }
    }
}

static void s_sex_language(struct reader *self,
                           const struct hl7_segment *pid,
                           Ref__Patient *patient)
{
    /* HL7 table 0001: A ambiguous, N not applicable stand under other. */
    static const char CODES[] = "FMOUAN";
    static const Ref__Patient__Sex SEXES[] = {
        REF__PATIENT__SEX__FEMALE, REF__PATIENT__SEX__MALE,
        REF__PATIENT__SEX__OTHER,  REF__PATIENT__SEX__UNKNOWN,
        REF__PATIENT__SEX__OTHER,  REF__PATIENT__SEX__OTHER
    };
    const char *sex = hl7_text(self->message, pid, 8, 1, 1);
    const char *at = sex != NULL && strlen(sex) == 1
                         ? strchr(CODES, toupper((unsigned char)sex[0]))
                         : NULL;
    if (at != NULL) {
        CN_SET(patient, sex, SEXES[at - CODES]);
    }
    const char *language = hl7_text(self->message, pid, 15, 1, 1);
    if (language != NULL && (strlen(language) == 2 || strlen(language) == 3)) {
        patient->language = s_lower(self, language);
    }
}

static void s_contacts(struct reader *self, Ref__Patient *patient)
{
    patient->contacts =
        cn_arena_array(self->arena, CONTACTS_MAX, sizeof(void *));
    self->failed = self->failed || patient->contacts == NULL;
    for (size_t i = 1; patient->contacts != NULL && i <= CONTACTS_MAX; i++) {
        const struct hl7_segment *nk1 = hl7_segment(self->message, "NK1", i);
        Ref__Patient__Contact *contact =
            CN_NEW(self->arena, ref__patient__contact, Ref__Patient__Contact);
        if (nk1 == NULL || contact == NULL) {
            self->failed = self->failed || contact == NULL;
            return;
        }
        contact->name = s_name(self, nk1, 2, 200);
        const char *relation = hl7_text(self->message, nk1, 3, 1, 2);
        relation = s_first(relation, hl7_text(self->message, nk1, 3, 1, 1));
        contact->relationship = s_fit(self, s_lower(self, relation), 60);
        contact->phone = s_first(s_telecom_of(self, nk1, 5, TELECOM_PHONE),
                                 s_telecom_of(self, nk1, 6, TELECOM_PHONE));
        contact->email = s_telecom_of(self, nk1, 5, TELECOM_EMAIL);
        if (contact->name != NULL || contact->phone != NULL) {
            patient->contacts[patient->n_contacts++] = contact;
        }
    }
}

static Ref__Patient *s_patient(struct reader *self,
                               const struct hl7_segment *pid)
{
    Ref__Patient *patient = CN_NEW(self->arena, ref__patient, Ref__Patient);
    if (patient == NULL) {
        self->failed = true;
        return NULL;
    }
    s_identifiers(self, pid, patient);
    s_patient_name(self, pid, patient);
    patient->birth_date = s_date(self, pid, 7);
    s_sex_language(self, pid, patient);
    s_address(self, pid, patient);
    s_phones(self, pid, patient);
    s_contacts(self, patient);
    return patient;
}

/* ---- referral ---- */

/* The provider in that role: RP refers, RT is referred to (table 0286). */
static const struct hl7_segment *s_provider(const struct hl7 *message,
                                            const char *role)
{
    for (size_t i = 1;; i++) {
        const struct hl7_segment *prd = hl7_segment(message, "PRD", i);
        int count = hl7_repetitions(message, prd, 1);
        for (int j = 1; j <= count; j++) {
            const char *sent = hl7_text(message, prd, 1, j, 1);
            if (sent != NULL && strcmp(sent, role) == 0) {
                return prd;
            }
        }
        if (prd == NULL) {
            return NULL;
        }
    }
}

/* EI: 1 id, 2 namespace, 3 universal id. */
static enum cn_code s_external_id(struct reader *self,
                                  const struct hl7_segment *rf1,
                                  Ref__Referral__Source *source,
                                  struct hl7_fault *fault,
                                  struct cn_err *err)
{
    const struct hl7 *message = self->message;
    const struct hl7_segment *msh = message->segments;
    source->external_id = hl7_text(message, rf1, 6, 1, 1);
    if (source->external_id == NULL) {
        return CN_OK;
    }
    if (strlen(source->external_id) > EXTERNAL_ID_MAX) {
        /* Shortened, it would be another referral's name. */
        *fault = (struct hl7_fault){ .ack = "AE",
                                     .segment = "RF1",
                                     .sequence = 1,
                                     .field = 6,
                                     .code = HL7_VALUE_TOO_LONG,
                                     .text = "the referral's id is too long" };
        return cn_fail(err, CN_INVALID, "HL7 AE %d: RF1-6", fault->code);
    }
    const char *system = hl7_text(message, rf1, 6, 1, 2);
    system = s_first(system, hl7_text(message, rf1, 6, 1, 3));
    system = s_first(system, hl7_text(message, msh, 4, 1, 1));
    system = s_first(system, hl7_text(message, msh, 3, 1, 1));
    source->system = s_fit(self, system, 200);
    return CN_OK;
}

static void s_source(struct reader *self,
                     const struct hl7_segment *prd,
                     Ref__Referral__Source *source)
{
    const struct hl7_segment *msh = self->message->segments;
    source->organization =
        s_first(s_text(self, prd, 10, 1, 200), s_text(self, prd, 4, 9, 200));
    source->organization =
        s_first(source->organization, s_text(self, msh, 4, 1, 200));
    source->contact_name = s_name(self, prd, 2, 200);
    /* PRD-5 is the provider's own line, PRD-13 the organization's. */
    source->phone = s_first(s_telecom_of(self, prd, 5, TELECOM_PHONE),
                            s_telecom_of(self, prd, 13, TELECOM_PHONE));
    source->fax = s_first(s_telecom_of(self, prd, 5, TELECOM_FAX),
                          s_telecom_of(self, prd, 13, TELECOM_FAX));
    source->email = s_first(s_telecom_of(self, prd, 5, TELECOM_EMAIL),
                            s_telecom_of(self, prd, 13, TELECOM_EMAIL));
}

static Ref__Referral__Physician *s_physician(struct reader *self,
                                             const struct hl7_segment *prd)
{
    Ref__Referral__Physician *physician =
        CN_NEW(self->arena, ref__referral__physician, Ref__Referral__Physician);
    if (physician == NULL || prd == NULL) {
        self->failed = self->failed || physician == NULL;
        return NULL;
    }
    physician->name = s_name(self, prd, 2, 200);
    physician->phone = s_telecom_of(self, prd, 5, TELECOM_PHONE);
    physician->fax = s_telecom_of(self, prd, 5, TELECOM_FAX);
    int count = hl7_repetitions(self->message, prd, 7);
    for (int i = 1; i <= count; i++) {
        const char *id = hl7_text(self->message, prd, 7, i, 1);
        const char *type = hl7_text(self->message, prd, 7, i, 2);
        if (id != NULL && type != NULL && strcmp(type, "NPI") == 0 &&
            strlen(id) == 10 && strspn(id, "0123456789") == 10) {
            physician->npi = id;
        }
    }
    return physician->name != NULL || physician->npi != NULL ? physician : NULL;
}

static const char *s_code_system(struct reader *self, const char *sent)
{
    static const struct {
        const char *hl7;
        const char *ours;
    } SYSTEMS[] = { { "I10", "icd-10-cm" },   { "I10C", "icd-10-cm" },
                    { "ICD10", "icd-10-cm" }, { "I9", "icd-9-cm" },
                    { "I9C", "icd-9-cm" },    { "SCT", "snomed-ct" } };
    for (size_t i = 0; sent != NULL && i < CN_COUNT(SYSTEMS); i++) {
        if (strcasecmp(sent, SYSTEMS[i].hl7) == 0) {
            return SYSTEMS[i].ours;
        }
    }
    return s_fit(self, sent, 60);
}

static void s_diagnoses(struct reader *self, Ref__Referral *referral)
{
    referral->diagnoses =
        cn_arena_array(self->arena, DIAGNOSES_MAX, sizeof(void *));
    self->failed = self->failed || referral->diagnoses == NULL;
    for (size_t i = 1; referral->diagnoses != NULL && i <= DIAGNOSES_MAX; i++) {
        const struct hl7_segment *dg1 = hl7_segment(self->message, "DG1", i);
        Ref__Referral__Diagnosis *diagnosis = CN_NEW(
            self->arena, ref__referral__diagnosis, Ref__Referral__Diagnosis);
        if (dg1 == NULL || diagnosis == NULL) {
            self->failed = self->failed || diagnosis == NULL;
            return;
        }
        diagnosis->code = s_text(self, dg1, 3, 1, 20);
        diagnosis->system =
            s_code_system(self, hl7_text(self->message, dg1, 3, 1, 3));
        diagnosis->display =
            s_first(s_text(self, dg1, 3, 2, 300), s_text(self, dg1, 4, 1, 300));
        if (diagnosis->code != NULL || diagnosis->display != NULL) {
            referral->diagnoses[referral->n_diagnoses++] = diagnosis;
        }
    }
}

static Ref__Referral__Payer *s_payer(struct reader *self)
{
    const struct hl7_segment *in1 = hl7_segment(self->message, "IN1", 1);
    Ref__Referral__Payer *payer =
        CN_NEW(self->arena, ref__referral__payer, Ref__Referral__Payer);
    if (payer == NULL || in1 == NULL) {
        self->failed = self->failed || payer == NULL;
        return NULL;
    }
    payer->name =
        s_first(s_text(self, in1, 4, 1, 200), s_text(self, in1, 2, 2, 200));
    payer->type = s_lower(self, s_text(self, in1, 15, 1, 40));
    payer->member_id =
        s_first(s_text(self, in1, 36, 1, 60), s_text(self, in1, 49, 1, 60));
    return payer->name != NULL || payer->member_id != NULL ? payer : NULL;
}

/* RF1-3 (user-defined table 0281): the standard's Skn is skilled nursing; the
 * rest are the words that home health uses. */
static void s_disciplines(struct reader *self,
                          const struct hl7_segment *rf1,
                          Ref__Referral *referral)
{
    static const struct {
        const char *code;
        Ref__Referral__Discipline discipline;
    } TYPES[] = { { "Skn", REF__REFERRAL__DISCIPLINE__RN },
                  { "RN", REF__REFERRAL__DISCIPLINE__RN },
                  { "PT", REF__REFERRAL__DISCIPLINE__PT },
                  { "OT", REF__REFERRAL__DISCIPLINE__OT },
                  { "ST", REF__REFERRAL__DISCIPLINE__SLP },
                  { "SLP", REF__REFERRAL__DISCIPLINE__SLP },
                  { "MSW", REF__REFERRAL__DISCIPLINE__MSW },
                  { "AIDE", REF__REFERRAL__DISCIPLINE__AIDE } };
    const char *type = hl7_text(self->message, rf1, 3, 1, 1);
    for (size_t i = 0; type != NULL && i < CN_COUNT(TYPES); i++) {
        if (strcasecmp(type, TYPES[i].code) != 0) {
            continue;
        }
        referral->disciplines =
            cn_arena_array(self->arena, 1, sizeof(*referral->disciplines));
        if (referral->disciplines == NULL) {
            self->failed = true;
            return;
        }
        referral->disciplines[referral->n_disciplines++] = TYPES[i].discipline;
    }
}

/* Has the local date of RF1-8 passed? */
static bool s_expired(struct reader *self,
                      const struct hl7_segment *rf1,
                      const char *zone,
                      int64_t now_at)
{
    const char *text = s_date(self, rf1, 8);
    struct cn_date expires;
    struct cn_civil today;
    return text != NULL && cn_date_parse(text, &expires) &&
           cn_zone_civil(zone, now_at, &today) &&
           cn_date_compare(today.date, expires) > 0;
}

static void
s_warnings(struct reader *self, bool expired, Ref__Referral *referral)
{
    referral->warnings =
        cn_arena_array(self->arena, WARNINGS_MAX, sizeof(*referral->warnings));
    self->failed = self->failed || referral->warnings == NULL;
    if (referral->warnings != NULL && expired) {
        referral->warnings[referral->n_warnings++] = "expired_on_arrival";
    }
    if (referral->warnings != NULL && self->shortened) {
        referral->warnings[referral->n_warnings++] = "text_shortened";
    }
}

static enum cn_code s_referral(struct reader *self,
                               Ref__Referral *referral,
                               struct hl7_fault *fault,
                               struct cn_err *err)
{
    const struct hl7_segment *rf1 = hl7_segment(self->message, "RF1", 1);
    const struct hl7_segment *prd = s_provider(self->message, "RP");
    enum cn_code rc = s_external_id(self, rf1, referral->source, fault, err);
    if (rc != CN_OK) {
        return rc;
    }
    CN_SET(referral, channel, REF__REFERRAL__CHANNEL__HL7V2);
    s_source(self, prd, referral->source);
    referral->ordering_physician = s_physician(self, prd);
    s_diagnoses(self, referral);
    referral->payer = s_payer(self);
    s_disciplines(self, rf1, referral);
    referral->needs =
        s_first(s_text(self, rf1, 14, 1, 4000), s_text(self, rf1, 24, 1, 4000));
    referral->discharge_date =
        s_date(self, hl7_segment(self->message, "PV1", 1), 45);
    referral->sent_at = s_sent(self, self->message->segments, 7);
    referral->sent_effective = s_sent(self, rf1, 7);
    referral->sent_expires = s_sent(self, rf1, 8);
    referral->sent_processed = s_sent(self, rf1, 9);
    return CN_OK;
}

bool hl7_is_referral(const struct hl7 *message)
{
    const char *type = hl7_text(message, message->segments, 9, 1, 1);
    const char *trigger = hl7_text(message, message->segments, 9, 1, 2);
    return type != NULL && trigger != NULL && strcmp(type, "REF") == 0 &&
           strcmp(trigger, "I12") == 0;
}

enum cn_code hl7_referral_read(const struct hl7 *message,
                               const char *zone,
                               int64_t now_at,
                               Ref__Referral **ret_referral,
                               Ref__Patient **ret_patient,
                               struct hl7_fault *ret_fault,
                               struct cn_err *err)
{
    static const struct hl7_fault NO_PID = { .ack = "AE",
                                             .segment = "PID",
                                             .sequence = 1,
                                             .code = HL7_SEGMENT_SEQUENCE,
                                             .text = "a referral needs PID" };
    struct reader self = { .message = message, .arena = message->arena };
    const struct hl7_segment *pid = hl7_segment(message, "PID", 1);
    if (pid == NULL) {
        *ret_fault = NO_PID;
        return cn_fail(err, CN_INVALID, "HL7 AE %d: PID", NO_PID.code);
    }
    Ref__Referral *referral = CN_NEW(self.arena, ref__referral, Ref__Referral);
    if (referral == NULL) {
        return cn_fail(err, CN_NOMEM, "HL7 referral");
    }
    referral->source =
        CN_NEW(self.arena, ref__referral__source, Ref__Referral__Source);
    if (referral->source == NULL) {
        return cn_fail(err, CN_NOMEM, "HL7 referral");
    }
    enum cn_code rc = s_referral(&self, referral, ret_fault, err);
    if (rc != CN_OK) {
        return rc;
    }
    Ref__Patient *patient = s_patient(&self, pid);
    bool expired =
        s_expired(&self, hl7_segment(message, "RF1", 1), zone, now_at);
    s_warnings(&self, expired, referral);
    if (self.failed) {
        return cn_fail(err, CN_NOMEM, "HL7 referral");
    }
    *ret_referral = referral;
    *ret_patient = patient;
    return CN_OK;
}
