/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7_referral.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/contract/service.h"
#include "common/wire/message.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The longest lists that are taken; the API has the same bounds. */
enum {
    IDENTIFIERS_MAX = 20,
    PHONES_MAX = 8,
    CONTACTS_MAX = 12,
    DIAGNOSES_MAX = 30,
    EXTERNAL_ID_MAX = 100, /* bytes */
    NAME_MAX_BYTES = 200,
    WARNINGS_MAX = 2
};

/* The message while it is read; a segment that it has not is NULL. */
struct reader {
    const struct hl7 *message;
    struct cn_arena *arena;
    const struct hl7_segment *msh;
    const struct hl7_segment *rf1;
    const struct hl7_segment *prd; /* of the provider who refers */
    const struct hl7_segment *pid;
    bool shortened; /* a text was longer than its field holds */
};

/* A code that is sent, and what it stands for. */
struct code {
    const char *sent;
    const char *text;
    int value;
};

/* ---- texts ---- */

/* The row of a code, upper and lower case alike; NULL when there is none. */
static const struct code *
s_code_find(const struct code *rows, size_t count, const char *sent)
{
    for (size_t i = 0; sent != NULL && i < count; i++) {
        if (strcasecmp(sent, rows[i].sent) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* The text cut to max bytes, never inside a UTF-8 character. */
static const char *s_fit(struct reader *self, const char *text, size_t max)
{
    if (text == NULL || strlen(text) <= max) {
        return text;
    }
    while (max > 0 && ((unsigned char)text[max] & 0xC0) == 0x80) {
        max--;
    }
    self->shortened = true;
    return cn_arena_strndup(self->arena, text, max);
}

/* A component of the field's first repetition, of any length. */
static const char *s_whole(const struct reader *self,
                           const struct hl7_segment *segment,
                           int field,
                           int component)
{
    return hl7_text(self->message, segment, field, 1, component);
}

static const char *s_fitted(struct reader *self,
                            const struct hl7_segment *segment,
                            int field,
                            int component,
                            size_t max)
{
    return s_fit(self, s_whole(self, segment, field, component), max);
}

/* Adds a text that is given to a list that has room. */
static void s_add_given(const char **list, size_t *count, const char *text)
{
    if (text != NULL) {
        list[(*count)++] = text;
    }
}

/* a, or b when a is absent. */
static const char *s_either(const char *a, const char *b)
{
    return a != NULL ? a : b;
}

/* Joins the parts that are given by single spaces; NULL when none is. */
static const char *
s_join(struct reader *self, const char *const *parts, size_t count, size_t max)
{
    const char *text = NULL;
    for (size_t i = 0; i < count; i++) {
        if (parts[i] != NULL) {
            text = text == NULL
                       ? parts[i]
                       : cn_arena_printf(self->arena, "%s %s", text, parts[i]);
        }
    }
    return s_fit(self, text, max);
}

static const char *s_lower(struct reader *self, const char *text)
{
    char *lower = cn_arena_strdup(self->arena, text);
    for (char *c = lower; c != NULL && *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    return lower;
}

/* A name as people write it, from the components of XPN or PLN: given, middle,
 * family, suffix. */
static const char *
s_person_name(struct reader *self, const struct hl7_segment *segment, int field)
{
    const char *const parts[] = { s_whole(self, segment, field, 2),
                                  s_whole(self, segment, field, 3),
                                  s_whole(self, segment, field, 1),
                                  s_whole(self, segment, field, 4) };
    return s_join(self, parts, CN_COUNT(parts), NAME_MAX_BYTES);
}

/* HL7 dates begin YYYYMMDD; as YYYY-MM-DD, or NULL. */
static const char *
s_field_date(struct reader *self, const struct hl7_segment *segment, int field)
{
    const char *sent = s_whole(self, segment, field, 1);
    struct cn_date date;
    if (sent == NULL || strspn(sent, "0123456789") < 8) {
        return NULL;
    }
    const char *text = cn_arena_printf(self->arena, "%.4s-%.2s-%.2s", sent,
                                       sent + 4, sent + 6);
    return cn_date_parse(text, &date) ? text : NULL;
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

/* XTN: 1 number as text, 3 equipment, 4 e-mail, 6 area, 7 local, 12
 * unformatted. Senders differ in which of them they fill. */
static struct telecom_text s_telecom(struct reader *self,
                                     const struct hl7_segment *segment,
                                     int field,
                                     int repetition)
{
    static const int PARTS[] = { 1, 3, 4, 6, 7, 12 };
    const char *part[13] = { NULL };
    for (size_t i = 0; i < CN_COUNT(PARTS); i++) {
        part[PARTS[i]] =
            hl7_text(self->message, segment, field, repetition, PARTS[i]);
    }
    const char *mail = part[4];
    if (mail == NULL && part[1] != NULL && strchr(part[1], '@') != NULL) {
        mail = part[1];
    }
    if (mail != NULL && strchr(mail, '@') != NULL && strlen(mail) <= 254) {
        return (struct telecom_text){ TELECOM_EMAIL, mail };
    }
    const char *text = s_either(
        part[12], part[7] != NULL ? s_join(self, part + 6, 2, 40) : part[1]);
    if (!s_is_phone(text)) {
        return (struct telecom_text){ TELECOM_NONE, NULL };
    }
    bool fax = part[3] != NULL && strcasecmp(part[3], "FX") == 0;
    return (struct telecom_text){ fax ? TELECOM_FAX : TELECOM_PHONE, text };
}

/* The first text of a kind in field one, or else in field two (0: no other). */
static const char *s_telecom_of(struct reader *self,
                                const struct hl7_segment *segment,
                                int one,
                                int two,
                                enum telecom kind)
{
    const int fields[] = { one, two };
    for (size_t f = 0; f < CN_COUNT(fields); f++) {
        int count = hl7_repetitions(self->message, segment, fields[f]);
        for (int i = 1; i <= count; i++) {
            struct telecom_text found = s_telecom(self, segment, fields[f], i);
            if (found.kind == kind) {
                return found.text;
            }
        }
    }
    return NULL;
}

/* ---- patient ---- */

/* A code of table 0203 is a short word. A sender that shifts its fields by one
 * puts a name into CX.5 instead. */
static bool s_is_type(const char *text)
{
    return text != NULL && strlen(text) <= 5 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == strlen(text);
}

/* CX: 1 id, 4 authority, 5 type, 6 facility. Some senders leave the authority
 * out and name the facility instead. */
static void s_identifiers(struct reader *self, Ref__Patient *patient)
{
    int count = hl7_repetitions(self->message, self->pid, 3);
    patient->identifiers =
        cn_arena_array(self->arena, IDENTIFIERS_MAX, sizeof(void *));
    for (int i = 1; i <= count && patient->n_identifiers < IDENTIFIERS_MAX;
         i++) {
        const char *value = hl7_text(self->message, self->pid, 3, i, 1);
        if (value == NULL) {
            continue;
        }
        const char *type = hl7_text(self->message, self->pid, 3, i, 5);
        const char *authority =
            s_either(hl7_text(self->message, self->pid, 3, i, 4),
                     hl7_text(self->message, self->pid, 3, i, 6));
        bool ssn = authority != NULL && (strcmp(authority, "USSSA") == 0 ||
                                         strcmp(authority, "SSA") == 0);
        Ref__Patient__Identifier *identifier = CN_NEW(
            self->arena, ref__patient__identifier, Ref__Patient__Identifier);
        identifier->value = s_fit(self, value, 100);
        identifier->system = s_fit(self, authority, 200);
        identifier->type = ssn ? "SS" : s_is_type(type) ? type : NULL;
        patient->identifiers[patient->n_identifiers++] = identifier;
    }
}

static void s_patient_name(struct reader *self, Ref__Patient *patient)
{
    Ref__Patient__Name *name =
        CN_NEW(self->arena, ref__patient__name, Ref__Patient__Name);
    name->family = s_fitted(self, self->pid, 5, 1, 100);
    name->given = cn_arena_array(self->arena, 2, sizeof(*name->given));
    s_add_given(name->given, &name->n_given,
                s_fitted(self, self->pid, 5, 2, 100));
    s_add_given(name->given, &name->n_given,
                s_fitted(self, self->pid, 5, 3, 100));
    name->suffix = s_fitted(self, self->pid, 5, 4, 20);
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

static void s_patient_address(struct reader *self, Ref__Patient *patient)
{
    const struct hl7_segment *pid = self->pid;
    Ref__Patient__Address *address =
        CN_NEW(self->arena, ref__patient__address, Ref__Patient__Address);
    const char *state = s_whole(self, pid, 11, 4);
    const char *code = s_whole(self, pid, 11, 5);
    address->lines = cn_arena_array(self->arena, 2, sizeof(*address->lines));
    s_add_given(address->lines, &address->n_lines,
                s_fitted(self, pid, 11, 1, 200));
    s_add_given(address->lines, &address->n_lines,
                s_fitted(self, pid, 11, 2, 200));
    address->city = s_fitted(self, pid, 11, 3, 100);
    address->state = state != NULL && strlen(state) == 2 ? state : NULL;
    address->postal_code = s_is_postal_code(code) ? code : NULL;
    if (address->n_lines > 0 || address->city != NULL ||
        address->postal_code != NULL) {
        patient->address = address;
    }
}

/* PID-13 home, PID-14 business. */
static void s_phones(struct reader *self, Ref__Patient *patient)
{
    patient->phones =
        cn_arena_array(self->arena, PHONES_MAX, sizeof(*patient->phones));
    for (int field = 13; field <= 14; field++) {
        int count = hl7_repetitions(self->message, self->pid, field);
        for (int i = 1; i <= count && patient->n_phones < PHONES_MAX; i++) {
            struct telecom_text found = s_telecom(self, self->pid, field, i);
            if (found.kind == TELECOM_PHONE) {
                patient->phones[patient->n_phones++] = found.text;
            } else if (found.kind == TELECOM_EMAIL && patient->email == NULL) {
                patient->email = found.text;
            }
        }
    }
}

static void s_sex_language(struct reader *self, Ref__Patient *patient)
{
    /* Table 0001; A is ambiguous, N is not applicable. */
    static const struct code SEXES[] = {
        { "F", .value = REF__PATIENT__SEX__FEMALE },
        { "M", .value = REF__PATIENT__SEX__MALE },
        { "O", .value = REF__PATIENT__SEX__OTHER },
        { "U", .value = REF__PATIENT__SEX__UNKNOWN },
        { "A", .value = REF__PATIENT__SEX__OTHER },
        { "N", .value = REF__PATIENT__SEX__OTHER },
    };
    const struct code *sex =
        s_code_find(SEXES, CN_COUNT(SEXES), s_whole(self, self->pid, 8, 1));
    if (sex != NULL) {
        CN_SET(patient, sex, (Ref__Patient__Sex)sex->value);
    }
    const char *language = s_whole(self, self->pid, 15, 1);
    if (language != NULL && (strlen(language) == 2 || strlen(language) == 3)) {
        patient->language = s_lower(self, language);
    }
}

static void s_contacts(struct reader *self, Ref__Patient *patient)
{
    patient->contacts =
        cn_arena_array(self->arena, CONTACTS_MAX, sizeof(void *));
    for (size_t i = 1; i <= CONTACTS_MAX; i++) {
        const struct hl7_segment *nk1 = hl7_segment(self->message, "NK1", i);
        if (nk1 == NULL) {
            return;
        }
        Ref__Patient__Contact *contact =
            CN_NEW(self->arena, ref__patient__contact, Ref__Patient__Contact);
        const char *relation =
            s_either(s_whole(self, nk1, 3, 2), s_whole(self, nk1, 3, 1));
        contact->name = s_person_name(self, nk1, 2);
        contact->relationship = s_fit(self, s_lower(self, relation), 60);
        contact->phone = s_telecom_of(self, nk1, 5, 6, TELECOM_PHONE);
        contact->email = s_telecom_of(self, nk1, 5, 0, TELECOM_EMAIL);
        if (contact->name != NULL || contact->phone != NULL) {
            patient->contacts[patient->n_contacts++] = contact;
        }
    }
}

static Ref__Patient *s_read_patient(struct reader *self)
{
    Ref__Patient *patient = CN_NEW(self->arena, ref__patient, Ref__Patient);
    s_identifiers(self, patient);
    s_patient_name(self, patient);
    patient->birth_date = s_field_date(self, self->pid, 7);
    s_sex_language(self, patient);
    s_patient_address(self, patient);
    s_phones(self, patient);
    s_contacts(self, patient);
    return patient;
}

/* ---- referral ---- */

/* The provider who refers: role RP (table 0286). */
static const struct hl7_segment *s_provider(const struct hl7 *message)
{
    for (size_t i = 1;; i++) {
        const struct hl7_segment *prd = hl7_segment(message, "PRD", i);
        int count = hl7_repetitions(message, prd, 1);
        for (int j = 1; j <= count; j++) {
            const char *role = hl7_text(message, prd, 1, j, 1);
            if (role != NULL && strcmp(role, "RP") == 0) {
                return prd;
            }
        }
        if (prd == NULL) {
            return NULL;
        }
    }
}

static Ref__Referral__Source *s_source(struct reader *self)
{
    Ref__Referral__Source *source =
        CN_NEW(self->arena, ref__referral__source, Ref__Referral__Source);
    /* EI: 1 id, 2 namespace, 3 universal id. */
    source->external_id = s_whole(self, self->rf1, 6, 1);
    const char *system = s_either(s_whole(self, self->rf1, 6, 2),
                                  s_whole(self, self->rf1, 6, 3));
    system = s_either(system, s_whole(self, self->msh, 4, 1));
    system = s_either(system, s_whole(self, self->msh, 3, 1));
    source->system =
        source->external_id != NULL ? s_fit(self, system, 200) : NULL;
    const char *organization = s_either(s_fitted(self, self->prd, 10, 1, 200),
                                        s_fitted(self, self->prd, 4, 9, 200));
    source->organization =
        s_either(organization, s_fitted(self, self->msh, 4, 1, 200));
    source->contact_name = s_person_name(self, self->prd, 2);
    /* PRD-5 belongs to the provider, PRD-13 to the organization. */
    source->phone = s_telecom_of(self, self->prd, 5, 13, TELECOM_PHONE);
    source->fax = s_telecom_of(self, self->prd, 5, 13, TELECOM_FAX);
    source->email = s_telecom_of(self, self->prd, 5, 13, TELECOM_EMAIL);
    return source;
}

static Ref__Referral__Physician *s_physician(struct reader *self)
{
    const struct hl7_segment *prd = self->prd;
    Ref__Referral__Physician *physician =
        CN_NEW(self->arena, ref__referral__physician, Ref__Referral__Physician);
    physician->name = s_person_name(self, prd, 2);
    physician->phone = s_telecom_of(self, prd, 5, 0, TELECOM_PHONE);
    physician->fax = s_telecom_of(self, prd, 5, 0, TELECOM_FAX);
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
    static const struct code SYSTEMS[] = {
        { "I10", "icd-10-cm", 0 },   { "I10C", "icd-10-cm", 0 },
        { "ICD10", "icd-10-cm", 0 }, { "I9", "icd-9-cm", 0 },
        { "I9C", "icd-9-cm", 0 },    { "SCT", "snomed-ct", 0 },
    };
    const struct code *known = s_code_find(SYSTEMS, CN_COUNT(SYSTEMS), sent);
    return known != NULL ? known->text : s_fit(self, sent, 60);
}

static void s_diagnoses(struct reader *self, Ref__Referral *referral)
{
    referral->diagnoses =
        cn_arena_array(self->arena, DIAGNOSES_MAX, sizeof(void *));
    for (size_t i = 1; i <= DIAGNOSES_MAX; i++) {
        const struct hl7_segment *dg1 = hl7_segment(self->message, "DG1", i);
        if (dg1 == NULL) {
            return;
        }
        Ref__Referral__Diagnosis *diagnosis = CN_NEW(
            self->arena, ref__referral__diagnosis, Ref__Referral__Diagnosis);
        diagnosis->code = s_fitted(self, dg1, 3, 1, 20);
        diagnosis->system = s_code_system(self, s_whole(self, dg1, 3, 3));
        diagnosis->display = s_either(s_fitted(self, dg1, 3, 2, 300),
                                      s_fitted(self, dg1, 4, 1, 300));
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
    payer->name = s_either(s_fitted(self, in1, 4, 1, 200),
                           s_fitted(self, in1, 2, 2, 200));
    payer->type = s_lower(self, s_fitted(self, in1, 15, 1, 40));
    payer->member_id = s_either(s_fitted(self, in1, 36, 1, 60),
                                s_fitted(self, in1, 49, 1, 60));
    return payer->name != NULL || payer->member_id != NULL ? payer : NULL;
}

/* RF1-3 (user-defined table 0281): the table's Skn is skilled nursing; the
 * other words are those that home health uses. */
static void s_disciplines(struct reader *self, Ref__Referral *referral)
{
    static const struct code TYPES[] = {
        { "Skn", .value = REF__REFERRAL__DISCIPLINE__RN },
        { "RN", .value = REF__REFERRAL__DISCIPLINE__RN },
        { "PT", .value = REF__REFERRAL__DISCIPLINE__PT },
        { "OT", .value = REF__REFERRAL__DISCIPLINE__OT },
        { "ST", .value = REF__REFERRAL__DISCIPLINE__SLP },
        { "SLP", .value = REF__REFERRAL__DISCIPLINE__SLP },
        { "MSW", .value = REF__REFERRAL__DISCIPLINE__MSW },
        { "AIDE", .value = REF__REFERRAL__DISCIPLINE__AIDE },
    };
    const struct code *type =
        s_code_find(TYPES, CN_COUNT(TYPES), s_whole(self, self->rf1, 3, 1));
    if (type != NULL) {
        referral->disciplines =
            cn_arena_array(self->arena, 1, sizeof(*referral->disciplines));
        referral->disciplines[referral->n_disciplines++] =
            (Ref__Referral__Discipline)type->value;
    }
}

/* Has the local date of RF1-8 passed? */
static bool s_expired(struct reader *self, const char *zone, int64_t now_at)
{
    const char *text = s_field_date(self, self->rf1, 8);
    struct cn_date expires;
    struct cn_civil today;
    return text != NULL && cn_date_parse(text, &expires) &&
           cn_zone_civil(zone, now_at, &today) &&
           cn_date_compare(today.date, expires) > 0;
}

static void
s_referral_warnings(struct reader *self, bool expired, Ref__Referral *referral)
{
    referral->warnings =
        cn_arena_array(self->arena, WARNINGS_MAX, sizeof(*referral->warnings));
    s_add_given(referral->warnings, &referral->n_warnings,
                expired ? "expired_on_arrival" : NULL);
    s_add_given(referral->warnings, &referral->n_warnings,
                self->shortened ? "text_shortened" : NULL);
}

static Ref__Referral *s_read_referral(struct reader *self)
{
    const struct hl7_segment *rf1 = self->rf1;
    Ref__Referral *referral = CN_NEW(self->arena, ref__referral, Ref__Referral);
    CN_SET(referral, channel, REF__REFERRAL__CHANNEL__HL7V2);
    referral->source = s_source(self);
    referral->ordering_physician = s_physician(self);
    s_diagnoses(self, referral);
    referral->payer = s_payer(self);
    s_disciplines(self, referral);
    referral->needs = s_either(s_fitted(self, rf1, 14, 1, 4000),
                               s_fitted(self, rf1, 24, 1, 4000));
    referral->discharge_date =
        s_field_date(self, hl7_segment(self->message, "PV1", 1), 45);
    referral->sent_at = s_fitted(self, self->msh, 7, 1, 60);
    referral->sent_effective = s_fitted(self, rf1, 7, 1, 60);
    referral->sent_expires = s_fitted(self, rf1, 8, 1, 60);
    referral->sent_processed = s_fitted(self, rf1, 9, 1, 60);
    return referral;
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
    static const struct hl7_fault NO_PID = {
        "AE", "PID", 1, 0, HL7_SEGMENT_SEQUENCE, "a referral needs PID"
    };
    /* A shortened id could be that of another referral. */
    static const struct hl7_fault LONG_ID = {
        "AE", "RF1", 1, 6, HL7_VALUE_TOO_LONG, "the referral's id is too long"
    };
    struct reader self = { .message = message,
                           .arena = message->arena,
                           .msh = message->segments,
                           .rf1 = hl7_segment(message, "RF1", 1),
                           .prd = s_provider(message),
                           .pid = hl7_segment(message, "PID", 1) };
    const char *id = s_whole(&self, self.rf1, 6, 1);
    if (self.pid == NULL || (id != NULL && strlen(id) > EXTERNAL_ID_MAX)) {
        return hl7_refuse(ret_fault, self.pid == NULL ? &NO_PID : &LONG_ID,
                          err);
    }
    Ref__Referral *referral = s_read_referral(&self);
    Ref__Patient *patient = s_read_patient(&self);
    s_referral_warnings(&self, s_expired(&self, zone, now_at), referral);
    if (cn_arena_failed(self.arena)) {
        return cn_fail(err, CN_NOMEM, "HL7 referral");
    }
    *ret_referral = referral;
    *ret_patient = patient;
    return CN_OK;
}
