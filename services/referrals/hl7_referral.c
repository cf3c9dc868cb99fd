/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7_referral.h"

#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "common/wire/text.h"
#include "services/referrals/hl7_left.h"
#include "services/referrals/hl7_value.h"
#include "services/referrals/rules.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest lists that are taken; the API has the same bounds. */
enum {
    IDENTIFIERS_MAX = 20,
    PHONES_MAX = 8,
    CONTACTS_MAX = 12,
    DIAGNOSES_MAX = 30,
    DISCIPLINES_MAX = 6,
    NEEDS_MAX = 4000,        /* characters */
    NEEDS_BYTES_MAX = 16000, /* of what is gathered */
    EXTERNAL_ID_MAX = 100,   /* bytes */
    ORDER_LAST = 1000000     /* of what says no order */
};

/* ---- patient ---- */

/* A code of table 0203 is a short word. A sender that shifts its fields by one
 * puts a name into CX.5 instead. */
static bool s_is_type(const char *text)
{
    return text != NULL && strlen(text) <= 5 &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == strlen(text);
}

static bool s_has_number(const Ref__Patient *patient, const char *value)
{
    for (size_t i = 0; i < patient->n_identifiers; i++) {
        if (strcmp(patient->identifiers[i]->value, value) == 0) {
            return true;
        }
    }
    return false;
}

/* is_other: it stands beside the patient's numbers, which there are. */
static void s_identifier_add(struct hl7_reader *self,
                             struct hl7_place place,
                             bool is_other,
                             Ref__Patient *patient)
{
    const char *value = hl7_word(self, place, 1, 100);
    const char *type = hl7_word(self, place, 5, 100);
    const char *facility = hl7_word(self, place, 6, 200);
    if (value == NULL) {
        hl7_not_understood(self, place);
        return;
    }
    Ref__Patient__Identifier *identifier =
        CN_NEW(self->arena, ref__patient__identifier, Ref__Patient__Identifier);
    identifier->value = value;
    identifier->system = hl7_authority(self, place);
    identifier->type = type;
    const char *oid = cn_hl7_sub(self->message, place.segment, place.field,
                                 place.repetition, 4, 2);
    bool is_ssn = identifier_is_ssn(identifier) ||
                  (oid != NULL && strcmp(oid, "2.16.840.1.113883.4.1") == 0);
    identifier->type = is_ssn ? "SS" : s_is_type(type) ? type : NULL;
    bool has_room = is_other ? s_has_number(patient, value)
                             : patient->n_identifiers < IDENTIFIERS_MAX;
    bool is_whole = identifier->type == type &&
                    (facility == NULL || identifier->system == NULL ||
                     strcasecmp(facility, identifier->system) == 0);
    if (has_room && !is_other) {
        patient->identifiers[patient->n_identifiers++] = identifier;
    }
    /* Nobody but who may read the patient sees a social security number. */
    if (!is_ssn && (!has_room || !is_whole)) {
        hl7_not_kept(self, place);
    }
}

/* PID-3; where it is empty, the numbers that stood in PID-2 and PID-4 before
 * v2.3.1. */
static void s_identifiers(struct hl7_reader *self,
                          const struct cn_hl7_segment *pid,
                          Ref__Patient *patient)
{
    static const int FIELDS[] = { 3, 2, 4 };
    patient->identifiers =
        cn_arena_array(self->arena, IDENTIFIERS_MAX, sizeof(void *));
    for (size_t f = 0; f < CN_COUNT(FIELDS); f++) {
        bool is_other = patient->n_identifiers > 0 && f > 0;
        int count = hl7_count(self, hl7_at(pid, FIELDS[f]));
        for (int i = 1; i <= count; i++) {
            struct hl7_place place = { pid, FIELDS[f], i };
            if (cn_hl7_sent(self->message, pid, FIELDS[f], i) != NULL) {
                s_identifier_add(self, place, is_other, patient);
            }
        }
    }
}

static void s_patient_name(struct hl7_reader *self,
                           const struct cn_hl7_segment *pid,
                           Ref__Patient *patient)
{
    struct hl7_place place = hl7_legal_name(self, hl7_at(pid, 5));
    const char *const given[] = { hl7_word(self, place, 2, 100),
                                  hl7_word(self, place, 3, 100) };
    Ref__Patient__Name *name =
        CN_NEW(self->arena, ref__patient__name, Ref__Patient__Name);
    name->family = hl7_name(
        self, place, hl7_fit(self, place, hl7_family_name(self, place), 100));
    name->given =
        cn_arena_array(self->arena, CN_COUNT(given), sizeof(*name->given));
    for (size_t i = 0; i < CN_COUNT(given); i++) {
        if (hl7_name(self, place, given[i]) != NULL) {
            name->given[name->n_given++] = given[i];
        }
    }
    name->suffix = hl7_word(self, place, 4, 20);
    if (name->family != NULL || name->n_given > 0) {
        patient->name = name;
    } else {
        hl7_not_understood(self, place);
    }
}

/* PID-13 home, PID-14 business, PID-40 both since v2.7. */
static void s_telecoms(struct hl7_reader *self,
                       const struct cn_hl7_segment *pid,
                       Ref__Patient *patient)
{
    static const int FIELDS[] = { 13, 14, 40 };
    struct hl7_telecoms *found = cn_arena_alloc(self->arena, sizeof(*found));
    for (size_t i = 0; i < CN_COUNT(FIELDS); i++) {
        hl7_telecoms_read(self, hl7_at(pid, FIELDS[i]), found);
    }
    patient->phones =
        cn_arena_array(self->arena, PHONES_MAX, sizeof(*patient->phones));
    for (size_t i = 0; i < found->phone_count && i < PHONES_MAX; i++) {
        patient->phones[patient->n_phones++] = found->phones[i].text;
    }
    patient->email = hl7_telecom_one(self, found->emails, found->email_count);
    hl7_telecoms_left(self, found->phones, found->phone_count, PHONES_MAX);
    hl7_telecoms_left(self, found->faxes, found->fax_count, 0);
}

static void s_sex(struct hl7_reader *self,
                  const struct cn_hl7_segment *pid,
                  Ref__Patient *patient)
{
    /* Table 0001; A is ambiguous, N is not applicable. */
    static const struct hl7_code SEXES[] = {
        { "F", NULL, REF__PATIENT__SEX__FEMALE },
        { "FEMALE", NULL, REF__PATIENT__SEX__FEMALE },
        { "M", NULL, REF__PATIENT__SEX__MALE },
        { "MALE", NULL, REF__PATIENT__SEX__MALE },
        { "O", NULL, REF__PATIENT__SEX__OTHER },
        { "X", NULL, REF__PATIENT__SEX__OTHER },
        { "U", NULL, REF__PATIENT__SEX__UNKNOWN },
        { "UN", NULL, REF__PATIENT__SEX__UNKNOWN },
        { "UNK", NULL, REF__PATIENT__SEX__UNKNOWN },
        { "A", NULL, REF__PATIENT__SEX__OTHER },
        { "N", NULL, REF__PATIENT__SEX__OTHER },
    };
    const struct hl7_code *sex = hl7_code_find(
        SEXES, CN_COUNT(SEXES), hl7_word(self, hl7_at(pid, 8), 1, 20));
    if (sex != NULL) {
        CN_SET(patient, sex, (Ref__Patient__Sex)sex->value);
    } else {
        hl7_not_understood(self, hl7_at(pid, 8));
    }
}

static void s_language(struct hl7_reader *self,
                       const struct cn_hl7_segment *pid,
                       Ref__Patient *patient)
{
    struct hl7_place place = hl7_at(pid, 15);
    const char *sent = hl7_word(self, place, 1, 100);
    int count = hl7_count(self, place);
    char code[CN_LANGUAGE_SIZE];
    if (sent != NULL && cn_language_code(sent, code)) {
        patient->language = cn_arena_strdup(self->arena, code);
    } else {
        hl7_not_understood(self, place);
    }
    for (place.repetition = 2; place.repetition <= count; place.repetition++) {
        hl7_not_kept(self, place);
    }
}

/* NK1-5 home and NK1-6 business, NK1-40 both since v2.7. */
static void s_contact_telecoms(struct hl7_reader *self,
                               const struct cn_hl7_segment *nk1,
                               Ref__Patient__Contact *contact)
{
    static const int FIELDS[] = { 5, 6, 40 };
    struct hl7_telecoms *found = cn_arena_alloc(self->arena, sizeof(*found));
    for (size_t i = 0; i < CN_COUNT(FIELDS); i++) {
        hl7_telecoms_read(self, hl7_at(nk1, FIELDS[i]), found);
    }
    contact->phone = found->phone_count > 0 ? found->phones[0].text : NULL;
    contact->work_phone = found->phone_count > 1 ? found->phones[1].text : NULL;
    contact->email = hl7_telecom_one(self, found->emails, found->email_count);
    hl7_telecoms_left(self, found->phones, found->phone_count, 2);
    hl7_telecoms_left(self, found->faxes, found->fax_count, 0);
}

static Ref__Patient__Contact *s_contact(struct hl7_reader *self,
                                        const struct cn_hl7_segment *nk1)
{
    Ref__Patient__Contact *contact =
        CN_NEW(self->arena, ref__patient__contact, Ref__Patient__Contact);
    struct hl7_place relation = hl7_at(nk1, 3);
    contact->name = hl7_person_name(self, hl7_legal_name(self, hl7_at(nk1, 2)));
    contact->relationship =
        hl7_lower(self, hl7_either(hl7_word(self, relation, 2, 60),
                                   hl7_word(self, relation, 1, 60)));
    s_contact_telecoms(self, nk1, contact);
    return contact->name != NULL || contact->phone != NULL ||
                   contact->email != NULL
               ? contact
               : NULL;
}

static void s_contacts(struct hl7_reader *self, Ref__Patient *patient)
{
    const struct cn_hl7_segment *nk1 = NULL;
    patient->contacts =
        cn_arena_array(self->arena, CONTACTS_MAX, sizeof(void *));
    for (size_t i = 1; (nk1 = cn_hl7_segment(self->message, "NK1", i)) != NULL;
         i++) {
        Ref__Patient__Contact *contact =
            patient->n_contacts < CONTACTS_MAX ? s_contact(self, nk1) : NULL;
        if (contact != NULL) {
            patient->contacts[patient->n_contacts++] = contact;
        } else {
            hl7_segment_not_kept(self, nk1, "value_not_kept");
        }
    }
}

/* A discharge to the dead (PV1-36, patient status of UB-04): 20, 40 to 42. */
static bool s_is_discharged_dead(const struct cn_hl7 *message)
{
    static const struct hl7_code DEAD[] = { { "20", NULL, 0 },
                                            { "40", NULL, 0 },
                                            { "41", NULL, 0 },
                                            { "42", NULL, 0 },
                                            { "EXP", NULL, 0 } };
    const struct cn_hl7_segment *pv1 = cn_hl7_segment(message, "PV1", 1);
    return hl7_code_find(DEAD, CN_COUNT(DEAD),
                         cn_hl7_text(message, pv1, 36, 1, 1)) != NULL;
}

/* PID-30 Y, a time of death in PID-29, or a discharge that says so. */
static void s_death(struct hl7_reader *self, const struct cn_hl7_segment *pid)
{
    const char *died = cn_hl7_sent(self->message, pid, 29, 1);
    const char *flag = cn_hl7_sent(self->message, pid, 30, 1);
    bool is_dead = flag != NULL && (flag[0] == 'Y' || flag[0] == 'y');
    bool is_discharged = s_is_discharged_dead(self->message);
    if (is_dead || died != NULL || is_discharged) {
        const struct warning warning = { .code = "patient_deceased",
                                         .field = is_dead || died != NULL
                                                      ? "PID-29"
                                                      : "PV1-36",
                                         .sent = hl7_either(died, flag) };
        referral_warn_of(self->arena, self->referral, &warning);
    }
}

static Ref__Patient *s_read_patient(struct hl7_reader *self,
                                    const struct cn_hl7_segment *pid)
{
    Ref__Patient *patient = CN_NEW(self->arena, ref__patient, Ref__Patient);
    s_identifiers(self, pid, patient);
    s_patient_name(self, pid, patient);
    patient->birth_date = hl7_birth_day(self, hl7_at(pid, 7));
    s_sex(self, pid, patient);
    s_language(self, pid, patient);
    patient->address = hl7_address(self, hl7_at(pid, 11));
    s_telecoms(self, pid, patient);
    s_contacts(self, patient);
    s_death(self, pid);
    return patient;
}

/* ---- who refers ---- */

/* The provider who refers: role RP (table 0286). */
static const struct cn_hl7_segment *s_provider(const struct cn_hl7 *message)
{
    for (size_t i = 1;; i++) {
        const struct cn_hl7_segment *prd = cn_hl7_segment(message, "PRD", i);
        int count = cn_hl7_repetitions(message, prd, 1);
        for (int j = 1; j <= count; j++) {
            const char *role = cn_hl7_text(message, prd, 1, j, 1);
            if (role != NULL && strcasecmp(role, "RP") == 0) {
                return prd;
            }
        }
        if (prd == NULL) {
            return NULL;
        }
    }
}

/* EI: 1 id, 2 namespace, 3 universal id. A sender that leaves 1 empty means
 * what stands in 3, or in 2. */
static void s_external_id(struct hl7_reader *self,
                          const struct cn_hl7_segment *rf1,
                          Ref__Referral__Source *source)
{
    struct hl7_place place = hl7_at(rf1, 6);
    const char *part[4] = { NULL };
    for (int i = 1; i <= 3; i++) {
        part[i] = hl7_word(self, place, i, 1000);
    }
    const char *system = part[1] != NULL   ? hl7_either(part[2], part[3])
                         : part[3] != NULL ? part[2]
                                           : NULL;
    source->external_id = hl7_either(part[1], hl7_either(part[3], part[2]));
    if (source->external_id != NULL) {
        source->system =
            hl7_fit(self, place, hl7_either(system, hl7_sender(self)), 200);
    }
}

/* PRD-5 belongs to the provider; PRD-13, of the organization, says what is not
 * there. */
static void s_source_telecoms(struct hl7_reader *self,
                              const struct cn_hl7_segment *prd,
                              Ref__Referral__Source *source)
{
    struct hl7_telecoms *own = cn_arena_alloc(self->arena, sizeof(*own));
    struct hl7_telecoms *other = cn_arena_alloc(self->arena, sizeof(*other));
    hl7_telecoms_read(self, hl7_at(prd, 5), own);
    hl7_telecoms_read(self, hl7_at(prd, 13), other);
    source->phone = hl7_telecom_one(self, own->phones, own->phone_count);
    source->fax = hl7_telecom_one(self, own->faxes, own->fax_count);
    source->email = hl7_telecom_one(self, own->emails, own->email_count);
    if (source->phone == NULL) {
        source->phone =
            hl7_telecom_one(self, other->phones, other->phone_count);
    }
    if (source->fax == NULL) {
        source->fax = hl7_telecom_one(self, other->faxes, other->fax_count);
    }
    if (source->email == NULL) {
        source->email =
            hl7_telecom_one(self, other->emails, other->email_count);
    }
}

static Ref__Referral__Source *s_source(struct hl7_reader *self,
                                       const struct cn_hl7_segment *rf1,
                                       const struct cn_hl7_segment *prd)
{
    Ref__Referral__Source *source =
        CN_NEW(self->arena, ref__referral__source, Ref__Referral__Source);
    s_external_id(self, rf1, source);
    const char *organization =
        hl7_either(hl7_word(self, hl7_at(prd, 10), 1, 200),
                   hl7_word(self, hl7_at(prd, 4), 9, 200));
    source->organization =
        hl7_either(organization,
                   hl7_word(self, hl7_at(self->message->segments, 4), 1, 200));
    source->contact_name =
        hl7_person_name(self, hl7_legal_name(self, hl7_at(prd, 2)));
    s_source_telecoms(self, prd, source);
    return source;
}

/* PRD-7 is CM before v2.5, PLN since, and CX from some senders: the number says
 * in component 2, 4 or 5 that it is an NPI (OID 2.16.840.1.113883.4.6). */
static bool s_says_npi(struct hl7_reader *self, struct hl7_place place)
{
    const struct cn_hl7 *message = self->message;
    static const int COMPONENTS[] = { 2, 4, 5 };
    const char *authority =
        cn_hl7_sub(message, place.segment, place.field, place.repetition, 4, 2);
    for (size_t i = 0; i < CN_COUNT(COMPONENTS); i++) {
        const char *text = cn_hl7_text(message, place.segment, place.field,
                                       place.repetition, COMPONENTS[i]);
        if (text != NULL && strcasecmp(text, "NPI") == 0) {
            return true;
        }
    }
    return authority != NULL && strcmp(authority, "2.16.840.1.113883.4.6") == 0;
}

static const char *s_npi(struct hl7_reader *self,
                         const struct cn_hl7_segment *prd)
{
    struct hl7_place place = hl7_at(prd, 7);
    int count = hl7_count(self, place);
    const char *npi = NULL;
    for (int i = 1; i <= count; i++) {
        place.repetition = i;
        const char *id = hl7_word(self, place, 1, 100);
        bool fits = id != NULL && cn_json_pattern("npi", id);
        if (!s_says_npi(self, place)) {
            hl7_not_kept(self, place);
            continue;
        }
        if (fits && npi == NULL) {
            npi = id;
        } else if (!fits) {
            hl7_not_understood(self, place);
        } else if (strcmp(id, npi) != 0) {
            hl7_not_kept(self, place);
        }
    }
    return npi;
}

static Ref__Referral__Physician *s_physician(struct hl7_reader *self,
                                             const struct cn_hl7_segment *prd)
{
    Ref__Referral__Physician *physician =
        CN_NEW(self->arena, ref__referral__physician, Ref__Referral__Physician);
    struct hl7_telecoms *found = cn_arena_alloc(self->arena, sizeof(*found));
    hl7_telecoms_read(self, hl7_at(prd, 5), found);
    physician->name =
        hl7_person_name(self, hl7_legal_name(self, hl7_at(prd, 2)));
    physician->phone = hl7_telecom_one(self, found->phones, found->phone_count);
    physician->fax = hl7_telecom_one(self, found->faxes, found->fax_count);
    physician->npi = s_npi(self, prd);
    return physician->name != NULL || physician->npi != NULL ? physician : NULL;
}

/* ---- why and what ---- */

/* CWE: 1 code, 2 text, 3 system; 4 to 6 the same otherwise; 9 the sender's own
 * words. */
static Ref__Referral__Diagnosis *s_diagnosis(struct hl7_reader *self,
                                             const struct cn_hl7_segment *dg1)
{
    Ref__Referral__Diagnosis *diagnosis =
        CN_NEW(self->arena, ref__referral__diagnosis, Ref__Referral__Diagnosis);
    struct hl7_place place = hl7_at(dg1, 3);
    bool other = hl7_word(self, place, 1, 100) == NULL &&
                 hl7_word(self, place, 4, 100) != NULL;
    int first = other ? 4 : 1;
    const char *system = hl7_either(hl7_word(self, place, first + 2, 200),
                                    hl7_word(self, hl7_at(dg1, 2), 1, 200));
    diagnosis->code = hl7_word(self, place, first, 20);
    diagnosis->system = hl7_code_system(self, place, system);
    diagnosis->display =
        hl7_either(hl7_word(self, place, first + 1, 300),
                   hl7_either(hl7_word(self, place, 9, 300),
                              hl7_word(self, hl7_at(dg1, 4), 1, 300)));
    return diagnosis->code != NULL || diagnosis->display != NULL ? diagnosis
                                                                 : NULL;
}

/* The place in an order that a field tells: IN1-22, IN1-1, DG1-15 and the like.
 */
static long
s_rank(struct hl7_reader *self, const struct cn_hl7_segment *segment, int field)
{
    static const struct hl7_code WORDS[] = {
        { "P", NULL, 1 },         { "S", NULL, 2 },
        { "T", NULL, 3 },         { "PRIMARY", NULL, 1 },
        { "SECONDARY", NULL, 2 }, { "TERTIARY", NULL, 3 },
    };
    const char *text = hl7_word(self, hl7_at(segment, field), 1, 20);
    const struct hl7_code *word = hl7_code_find(WORDS, CN_COUNT(WORDS), text);
    long order = word != NULL   ? word->value
                 : text != NULL ? strtol(text, NULL, 10)
                                : 0;
    return order > 0 ? order : ORDER_LAST;
}

/* By the field, else by the set id in field 1, else as they stand. */
static bool s_is_before(struct hl7_reader *self,
                        const struct cn_hl7_segment *one,
                        const struct cn_hl7_segment *two,
                        int field)
{
    long priority = s_rank(self, one, field);
    long other = s_rank(self, two, field);
    return priority < other ||
           (priority == other && s_rank(self, one, 1) < s_rank(self, two, 1));
}

/* The main reason first: by DG1-15, else DG1-1, else as they stand. */
static void s_diagnoses(struct hl7_reader *self, Ref__Referral *referral)
{
    const struct cn_hl7_segment *from[DIAGNOSES_MAX] = { NULL };
    const struct cn_hl7_segment *dg1 = NULL;
    referral->diagnoses =
        cn_arena_array(self->arena, DIAGNOSES_MAX, sizeof(void *));
    for (size_t i = 1; (dg1 = cn_hl7_segment(self->message, "DG1", i)) != NULL;
         i++) {
        if (referral->n_diagnoses >= DIAGNOSES_MAX) {
            hl7_segment_not_kept(self, dg1, "value_not_kept");
            continue;
        }
        Ref__Referral__Diagnosis *diagnosis = s_diagnosis(self, dg1);
        if (diagnosis == NULL) {
            hl7_not_understood(self, hl7_at(dg1, 3));
            continue;
        }
        size_t at = referral->n_diagnoses++;
        for (; at > 0 && s_is_before(self, dg1, from[at - 1], 15); at--) {
            from[at] = from[at - 1];
            referral->diagnoses[at] = referral->diagnoses[at - 1];
        }
        from[at] = dg1;
        referral->diagnoses[at] = diagnosis;
    }
}

/* Has the local day of the place passed? Some write the year 9999 for never. */
static bool s_is_past(struct hl7_reader *self, struct hl7_place place)
{
    const char *sent =
        cn_hl7_text(self->message, place.segment, place.field, 1, 1);
    bool is_never = sent != NULL && strncmp(sent, "9999", 4) == 0;
    const char *text = is_never ? NULL : hl7_day(self, place);
    struct cn_date day;
    struct cn_civil today;
    return text != NULL && cn_date_parse(text, &day) &&
           cn_zone_civil(self->zone, self->now_at, &today) &&
           cn_date_compare(today.date, day) > 0;
}

/* Which insurance pays first: IN1-22, else IN1-1, else as they stand. */
static const struct cn_hl7_segment *s_payer_first(struct hl7_reader *self)
{
    const struct cn_hl7_segment *first = NULL;
    const struct cn_hl7_segment *in1 = NULL;
    for (size_t i = 1; (in1 = cn_hl7_segment(self->message, "IN1", i)) != NULL;
         i++) {
        if (first == NULL || s_is_before(self, in1, first, 22)) {
            first = in1;
        }
    }
    return first;
}

/* The other insurances of the patient have no place yet. */
static void s_payers_left(struct hl7_reader *self,
                          const struct cn_hl7_segment *first)
{
    const struct cn_hl7_segment *in1 = NULL;
    for (size_t i = 1; (in1 = cn_hl7_segment(self->message, "IN1", i)) != NULL;
         i++) {
        if (in1 != first) {
            hl7_segment_not_kept(self, in1, "value_not_kept");
        }
    }
}

static Ref__Referral__Payer *s_payer(struct hl7_reader *self)
{
    const struct cn_hl7_segment *in1 = s_payer_first(self);
    Ref__Referral__Payer *payer =
        CN_NEW(self->arena, ref__referral__payer, Ref__Referral__Payer);
    const char *plan = hl7_either(hl7_word(self, hl7_at(in1, 2), 2, 200),
                                  hl7_word(self, hl7_at(in1, 2), 1, 200));
    payer->name = hl7_either(hl7_word(self, hl7_at(in1, 4), 1, 200), plan);
    payer->type =
        hl7_lower(self, hl7_either(hl7_word(self, hl7_at(in1, 15), 1, 40),
                                   hl7_word(self, hl7_at(in1, 15), 2, 40)));
    if (s_is_past(self, hl7_at(in1, 13))) {
        hl7_doubtful(self, hl7_at(in1, 13));
    }
    payer->member_id = hl7_either(hl7_word(self, hl7_at(in1, 36), 1, 60),
                                  hl7_word(self, hl7_at(in1, 49), 1, 60));
    s_payers_left(self, in1);
    return payer->name != NULL || payer->member_id != NULL ||
                   payer->type != NULL
               ? payer
               : NULL;
}

/* A discipline by the words that home health uses; 0 for home care as such
 * (table 0281). */
static const struct hl7_code *s_discipline(const char *sent)
{
    static const struct hl7_code TYPES[] = {
        { "Skn", NULL, REF__REFERRAL__DISCIPLINE__RN },
        { "RN", NULL, REF__REFERRAL__DISCIPLINE__RN },
        { "SN", NULL, REF__REFERRAL__DISCIPLINE__RN },
        { "PT", NULL, REF__REFERRAL__DISCIPLINE__PT },
        { "OT", NULL, REF__REFERRAL__DISCIPLINE__OT },
        { "ST", NULL, REF__REFERRAL__DISCIPLINE__SLP },
        { "SLP", NULL, REF__REFERRAL__DISCIPLINE__SLP },
        { "MSW", NULL, REF__REFERRAL__DISCIPLINE__MSW },
        { "AIDE", NULL, REF__REFERRAL__DISCIPLINE__AIDE },
        { "HHA", NULL, REF__REFERRAL__DISCIPLINE__AIDE },
        { "Hom", NULL, 0 },
    };
    return hl7_code_find(TYPES, CN_COUNT(TYPES), sent);
}

static void s_discipline_add(Ref__Referral *referral,
                             Ref__Referral__Discipline discipline)
{
    for (size_t i = 0; i < referral->n_disciplines; i++) {
        if (referral->disciplines[i] == discipline) {
            return;
        }
    }
    referral->disciplines[referral->n_disciplines++] = discipline;
}

static void s_disciplines(struct hl7_reader *self,
                          const struct cn_hl7_segment *rf1,
                          Ref__Referral *referral)
{
    struct hl7_place place = hl7_at(rf1, 3);
    int count = hl7_count(self, place);
    referral->disciplines = cn_arena_array(self->arena, DISCIPLINES_MAX,
                                           sizeof(*referral->disciplines));
    for (int i = 1; i <= count; i++) {
        place.repetition = i;
        const struct hl7_code *type =
            s_discipline(hl7_word(self, place, 1, 100));
        if (type == NULL) {
            hl7_not_understood(self, place);
        } else if (type->value != 0) {
            s_discipline_add(referral, (Ref__Referral__Discipline)type->value);
        }
    }
}

/* ---- needs ---- */

/* Texts as they are gathered: each once. */
struct needs {
    const char *text;
    struct hl7_place place; /* of the last one */
};

static void s_need_add(struct hl7_reader *self,
                       struct needs *needs,
                       struct hl7_place place,
                       const char *text)
{
    /* All that is left over is cut off once, with a warning. */
    if (text == NULL ||
        (needs->text != NULL && strlen(needs->text) > NEEDS_BYTES_MAX) ||
        (needs->text != NULL && strstr(needs->text, text) != NULL)) {
        return;
    }
    const char *const parts[] = { needs->text, text };
    needs->text = hl7_join(self, parts, CN_COUNT(parts), "\n");
    needs->place = place;
}

/* All repetitions of a field of text. */
static void s_need_texts(struct hl7_reader *self,
                         struct needs *needs,
                         const struct cn_hl7_segment *segment,
                         int field)
{
    int count = hl7_count(self, hl7_at(segment, field));
    for (int i = 1; i <= count; i++) {
        struct hl7_place place = { segment, field, i };
        s_need_add(self, needs, place,
                   hl7_lines(self, place, 0, CN_HL7_SIZE_MAX));
    }
}

/* All repetitions of a coded reason: its text, else its code. Words of table
 * 0336 say who wants the referral, not why. */
static void s_need_codes(struct hl7_reader *self,
                         struct needs *needs,
                         const struct cn_hl7_segment *segment,
                         int field)
{
    static const int PARTS[] = { 2, 9, 5, 1, 4 };
    int count = hl7_count(self, hl7_at(segment, field));
    for (int i = 1; i <= count; i++) {
        struct hl7_place place = { segment, field, i };
        const char *system = hl7_word(self, place, 3, 100);
        const char *text = NULL;
        for (size_t k = 0; k < CN_COUNT(PARTS) && text == NULL; k++) {
            text = hl7_lines(self, place, PARTS[k], CN_HL7_SIZE_MAX);
        }
        if (system == NULL || strcasecmp(system, "HL70336") != 0) {
            s_need_add(self, needs, place, text);
        }
    }
}

static const char *s_needs(struct hl7_reader *self,
                           const struct cn_hl7_segment *rf1)
{
    const struct cn_hl7 *message = self->message;
    struct needs needs = { .text = NULL };
    s_need_codes(self, &needs, rf1, 10);
    s_need_texts(self, &needs, rf1, 14);
    s_need_texts(self, &needs, rf1, 24);
    for (size_t i = 0; i < message->segment_count; i++) {
        const struct cn_hl7_segment *segment = &message->segments[i];
        if (strcmp(segment->name, "NTE") == 0) {
            s_need_texts(self, &needs, segment, 3);
        } else if (strcmp(segment->name, "OBR") == 0) {
            s_need_codes(self, &needs, segment, 31);
            s_need_texts(self, &needs, segment, 13);
        }
    }
    return hl7_fit(self, needs.place, needs.text, NEEDS_MAX);
}

/* ---- referral ---- */

/* Providers beside the one who refers; the one referred to (RT) is us. */
static void s_providers_left(struct hl7_reader *self,
                             const struct cn_hl7_segment *referring)
{
    const struct cn_hl7_segment *prd = NULL;
    for (size_t i = 1; (prd = cn_hl7_segment(self->message, "PRD", i)) != NULL;
         i++) {
        const char *role = cn_hl7_text(self->message, prd, 1, 1, 1);
        if (prd != referring && (role == NULL || strcasecmp(role, "RT") != 0)) {
            hl7_segment_not_kept(self, prd, "value_not_kept");
        }
    }
}

/* RF1-1 and RF1-2 where they say more than pending, accepted and routine. */
static void s_urgency_left(struct hl7_reader *self,
                           const struct cn_hl7_segment *rf1)
{
    static const struct hl7_code USUAL[] = { { "P", NULL, 1 },
                                             { "A", NULL, 1 },
                                             { "R", NULL, 2 } };
    for (int field = 1; field <= 2; field++) {
        const char *sent = cn_hl7_text(self->message, rf1, field, 1, 1);
        const struct hl7_code *usual =
            hl7_code_find(USUAL, CN_COUNT(USUAL), sent);
        if (usual == NULL || usual->value != field) {
            hl7_not_kept(self, hl7_at(rf1, field));
        }
    }
}

static void s_read_referral(struct hl7_reader *self,
                            const struct cn_hl7_segment *rf1)
{
    Ref__Referral *referral = self->referral;
    const struct cn_hl7_segment *prd = s_provider(self->message);
    const struct cn_hl7_segment *pv1 = cn_hl7_segment(self->message, "PV1", 1);
    CN_SET(referral, channel, REF__REFERRAL__CHANNEL__HL7V2);
    if (s_is_past(self, hl7_at(rf1, 8))) {
        referral_warn(self->arena, referral, "expired_on_arrival");
    }
    referral->source = s_source(self, rf1, prd);
    referral->ordering_physician = s_physician(self, prd);
    s_diagnoses(self, referral);
    referral->payer = s_payer(self);
    s_providers_left(self, prd);
    s_urgency_left(self, rf1);
    s_disciplines(self, rf1, referral);
    referral->needs = s_needs(self, rf1);
    referral->discharge_date = hl7_day(self, hl7_at(pv1, 45));
    referral->sent_at =
        hl7_word(self, hl7_at(self->message->segments, 7), 1, 60);
    referral->sent_effective = hl7_word(self, hl7_at(rf1, 7), 1, 60);
    referral->sent_expires = hl7_word(self, hl7_at(rf1, 8), 1, 60);
    referral->sent_processed = hl7_word(self, hl7_at(rf1, 9), 1, 60);
}

bool hl7_is_referral(const struct cn_hl7 *message)
{
    const char *type = cn_hl7_text(message, message->segments, 9, 1, 1);
    const char *trigger = cn_hl7_text(message, message->segments, 9, 1, 2);
    return type != NULL && trigger != NULL && strcmp(type, "REF") == 0 &&
           strcmp(trigger, "I12") == 0;
}

/* What of its segments makes the message no referral, or NULL. */
static const struct cn_hl7_fault *s_segments_fault(const struct cn_hl7 *message)
{
    static const struct cn_hl7_fault NO_PID = {
        .ack = "AE",
        .segment = "PID",
        .sequence = 1,
        .code = CN_HL7_SEGMENT_SEQUENCE,
        .text = "a referral needs PID",
    };
    static const struct cn_hl7_fault SECOND_PID = {
        .ack = "AE",
        .segment = "PID",
        .sequence = 2,
        .code = CN_HL7_SEGMENT_SEQUENCE,
        .text = "a referral is about one patient",
    };
    static const struct cn_hl7_fault SECOND_RF1 = {
        .ack = "AE",
        .segment = "RF1",
        .sequence = 2,
        .code = CN_HL7_SEGMENT_SEQUENCE,
        .text = "send one referral in a message",
    };
    /* A shortened id could be that of another referral. */
    static const struct cn_hl7_fault LONG_ID = {
        .ack = "AE",
        .segment = "RF1",
        .sequence = 1,
        .field = 6,
        .code = CN_HL7_VALUE_TOO_LONG,
        .text = "the referral's id is too long",
    };
    const struct cn_hl7_segment *rf1 = cn_hl7_segment(message, "RF1", 1);
    if (cn_hl7_segment(message, "PID", 1) == NULL) {
        return &NO_PID;
    }
    if (cn_hl7_segment(message, "PID", 2) != NULL) {
        return &SECOND_PID;
    }
    if (cn_hl7_segment(message, "RF1", 2) != NULL) {
        return &SECOND_RF1;
    }
    for (int i = 1; i <= 3; i++) {
        const char *id = cn_hl7_whole(message, rf1, 6, 1, i);
        if (id != NULL && strlen(id) > EXTERNAL_ID_MAX) {
            return &LONG_ID;
        }
    }
    return NULL;
}

enum cn_code hl7_referral_read(const struct cn_hl7 *message,
                               const char *zone,
                               int64_t now_at,
                               Ref__Referral **ret_referral,
                               Ref__Patient **ret_patient,
                               struct cn_hl7_fault *ret_fault,
                               struct cn_err *err)
{
    const struct cn_hl7_fault *fault = s_segments_fault(message);
    if (fault != NULL) {
        return cn_hl7_refuse(ret_fault, fault, err);
    }
    struct hl7_reader self = { .message = message,
                               .arena = message->arena,
                               .zone = zone,
                               .now_at = now_at,
                               .referral = CN_NEW(message->arena, ref__referral,
                                                  Ref__Referral) };
    s_read_referral(&self, cn_hl7_segment(message, "RF1", 1));
    Ref__Patient *patient =
        s_read_patient(&self, cn_hl7_segment(message, "PID", 1));
    hl7_left_warn(&self, patient);
    if (message->marks->joined != NULL) {
        const struct warning warning = {
            .code = "line_joined",
            .sent = cn_hl7_line(self.arena, message->marks->joined)
        };
        referral_warn_of(self.arena, self.referral, &warning);
    }
    if (message->marks->cut) {
        referral_warn(self.arena, self.referral, "text_shortened");
    }
    if (message->marks->replaced) {
        referral_warn(self.arena, self.referral, "text_replaced");
    }
    if (cn_arena_failed(self.arena)) {
        return cn_fail(err, CN_NOMEM, "HL7 referral");
    }
    *ret_referral = self.referral;
    *ret_patient = patient;
    return CN_OK;
}
