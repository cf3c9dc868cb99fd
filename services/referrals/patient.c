/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/patient.h"

#include "cairn/referrals.cairn.h"
#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"
#include "services/referrals/warning.h"

#include <string.h>

enum { JSON_TEXT_MAX = 64 << 10 };

/* ---- fields as text, for people ---- */

static const char *
s_joined(struct cn_arena *arena, const char *const *parts, size_t count)
{
    const char *text = NULL;
    for (size_t i = 0; i < count; i++) {
        if (parts[i] != NULL && parts[i][0] != '\0') {
            text = text == NULL
                       ? parts[i]
                       : cn_arena_printf(arena, "%s, %s", text, parts[i]);
        }
    }
    return text;
}

static const char *s_name_text(struct cn_arena *arena,
                               const Ref__Patient *patient)
{
    const Ref__Patient__Name *name = patient->name;
    const char *given = NULL;
    if (name == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < name->n_given; i++) {
        given = given == NULL
                    ? name->given[i]
                    : cn_arena_printf(arena, "%s %s", given, name->given[i]);
    }
    const char *const parts[] = { name->family, given, name->suffix };
    return s_joined(arena, parts, CN_COUNT(parts));
}

static const char *s_born_text(struct cn_arena *arena,
                               const Ref__Patient *patient)
{
    (void)arena;
    return patient->birth_date;
}

static const char *s_sex_text(struct cn_arena *arena,
                              const Ref__Patient *patient)
{
    (void)arena;
    return patient->has_sex
               ? cn_enum_word(&ref__patient__sex__descriptor, (int)patient->sex)
               : NULL;
}

static const char *s_phones_text(struct cn_arena *arena,
                                 const Ref__Patient *patient)
{
    return s_joined(arena, patient->phones, patient->n_phones);
}

static const char *s_email_text(struct cn_arena *arena,
                                const Ref__Patient *patient)
{
    (void)arena;
    return patient->email;
}

static const char *s_address_text(struct cn_arena *arena,
                                  const Ref__Patient *patient)
{
    const Ref__Patient__Address *address = patient->address;
    if (address == NULL) {
        return NULL;
    }
    const char *const parts[] = {
        s_joined(arena, address->lines, address->n_lines), address->city,
        address->state, address->postal_code
    };
    return s_joined(arena, parts, CN_COUNT(parts));
}

static const char *s_language_text(struct cn_arena *arena,
                                   const Ref__Patient *patient)
{
    (void)arena;
    return patient->language;
}

static const char *s_zone_text(struct cn_arena *arena,
                               const Ref__Patient *patient)
{
    (void)arena;
    return patient->time_zone;
}

static const char *s_contacts_text(struct cn_arena *arena,
                                   const Ref__Patient *patient)
{
    const char *text = NULL;
    for (size_t i = 0; i < patient->n_contacts; i++) {
        const Ref__Patient__Contact *contact = patient->contacts[i];
        const char *const parts[] = {
            text,           contact->name,       contact->relationship,
            contact->phone, contact->work_phone, contact->email
        };
        text = s_joined(arena, parts, CN_COUNT(parts));
    }
    return text;
}

static const char *s_json_text(struct cn_arena *arena,
                               const struct cn_shape *shape,
                               const ProtobufCMessage *message)
{
    struct cn_buffer json;
    cn_buffer_init(&json, JSON_TEXT_MAX);
    cn_json_write(&json, shape, message);
    const char *text =
        json.failed ? NULL : cn_arena_strndup(arena, json.data, json.size);
    cn_buffer_done(&json);
    return text;
}

static const char *s_interpreter_text(struct cn_arena *arena,
                                      const Ref__Patient *patient)
{
    (void)arena;
    return !patient->has_interpreter_needed ? NULL
           : patient->interpreter_needed    ? "yes"
                                            : "no";
}

static const char *s_preferences_text(struct cn_arena *arena,
                                      const Ref__Patient *patient)
{
    return patient->preferences != NULL
               ? s_json_text(arena, &ref__patient__preferences__shape,
                             &patient->preferences->base)
               : NULL;
}

static const char *s_commitments_text(struct cn_arena *arena,
                                      const Ref__Patient *patient)
{
    const char *text = NULL;
    for (size_t i = 0; i < patient->n_commitments; i++) {
        const char *const parts[] = {
            text, s_json_text(arena, &ref__patient__commitment__shape,
                              &patient->commitments[i]->base)
        };
        text = s_joined(arena, parts, CN_COUNT(parts));
    }
    return text;
}

/* The numbers that were sent and are not here; social security numbers are
 * shown to nobody. */
static const char *s_new_numbers(struct cn_arena *arena,
                                 const Ref__Patient *here,
                                 const Ref__Patient *sent)
{
    const char *systems[2][PATIENT_KEYS_MAX];
    const char *values[2][PATIENT_KEYS_MAX];
    size_t one =
        patient_keys(arena, sent, systems[0], values[0], PATIENT_KEYS_MAX);
    size_t two =
        patient_keys(arena, here, systems[1], values[1], PATIENT_KEYS_MAX);
    const char *text = NULL;
    for (size_t i = 0; i < one; i++) {
        bool is_here = false;
        for (size_t j = 0; j < two; j++) {
            is_here = is_here || (strcmp(systems[0][i], systems[1][j]) == 0 &&
                                  strcmp(values[0][i], values[1][j]) == 0);
        }
        const char *const parts[] = { text, systems[0][i], values[0][i] };
        text = is_here ? text : s_joined(arena, parts, CN_COUNT(parts));
    }
    return text;
}

/* ---- filling ---- */

static void s_fill_name(Ref__Patient *here, const Ref__Patient *sent)
{
    here->name = sent->name;
}

static void s_fill_born(Ref__Patient *here, const Ref__Patient *sent)
{
    here->birth_date = sent->birth_date;
}

static void s_fill_sex(Ref__Patient *here, const Ref__Patient *sent)
{
    CN_SET(here, sex, sent->sex);
}

static void s_fill_phones(Ref__Patient *here, const Ref__Patient *sent)
{
    here->phones = sent->phones;
    here->n_phones = sent->n_phones;
}

static void s_fill_email(Ref__Patient *here, const Ref__Patient *sent)
{
    here->email = sent->email;
}

static void s_fill_address(Ref__Patient *here, const Ref__Patient *sent)
{
    here->address = sent->address;
}

static void s_fill_language(Ref__Patient *here, const Ref__Patient *sent)
{
    here->language = sent->language;
}

static void s_fill_zone(Ref__Patient *here, const Ref__Patient *sent)
{
    here->time_zone = sent->time_zone;
}

static void s_fill_interpreter(Ref__Patient *here, const Ref__Patient *sent)
{
    CN_SET(here, interpreter_needed, sent->interpreter_needed);
}

static void s_fill_preferences(Ref__Patient *here, const Ref__Patient *sent)
{
    here->preferences = sent->preferences;
}

static void s_fill_commitments(Ref__Patient *here, const Ref__Patient *sent)
{
    here->commitments = sent->commitments;
    here->n_commitments = sent->n_commitments;
}

static void s_fill_contacts(Ref__Patient *here, const Ref__Patient *sent)
{
    here->contacts = sent->contacts;
    here->n_contacts = sent->n_contacts;
}

/* The fields that a later referral may tell of a patient. */
static const struct fact {
    const char *field;
    const char *(*text)(struct cn_arena *arena, const Ref__Patient *patient);
    void (*fill)(Ref__Patient *here, const Ref__Patient *sent);
} FACTS[] = {
    { "patient.name", s_name_text, s_fill_name },
    { "patient.birth_date", s_born_text, s_fill_born },
    { "patient.sex", s_sex_text, s_fill_sex },
    { "patient.phones", s_phones_text, s_fill_phones },
    { "patient.email", s_email_text, s_fill_email },
    { "patient.address", s_address_text, s_fill_address },
    { "patient.language", s_language_text, s_fill_language },
    { "patient.time_zone", s_zone_text, s_fill_zone },
    { "patient.contacts", s_contacts_text, s_fill_contacts },
    { "patient.interpreter_needed", s_interpreter_text, s_fill_interpreter },
    { "patient.preferences", s_preferences_text, s_fill_preferences },
    { "patient.commitments", s_commitments_text, s_fill_commitments },
};

static void s_warn_differs(struct cn_op *op,
                           Ref__Referral *referral,
                           const char *field,
                           const char *sent,
                           const char *kept)
{
    const Ref__Referral__Source *source = referral->source;
    const struct warning warning = { .code = "patient_differs",
                                     .field = field,
                                     .sent = sent,
                                     .kept = kept,
                                     .source = source == NULL ? NULL
                                               : source->system != NULL
                                                   ? source->system
                                                   : source->organization,
                                     .at = op->now_at };
    referral_warn_of(op->arena, referral, &warning);
}

void patient_fill(struct cn_op *op,
                  struct cn_record *patient,
                  const Ref__Patient *sent,
                  Ref__Referral *referral)
{
    Ref__Patient *here = patient->body;
    const char *numbers = s_new_numbers(op->arena, here, sent);
    for (size_t i = 0; i < CN_COUNT(FACTS); i++) {
        const char *kept = FACTS[i].text(op->arena, here);
        const char *told = FACTS[i].text(op->arena, sent);
        if (told == NULL || (kept != NULL && strcasecmp(kept, told) == 0)) {
            continue;
        }
        if (kept == NULL) {
            FACTS[i].fill(here, sent);
            continue;
        }
        s_warn_differs(op, referral, FACTS[i].field, told, kept);
    }
    if (numbers != NULL) {
        s_warn_differs(op, referral, "patient.identifiers", numbers, NULL);
    }
}

/* ---- writing ---- */

void patient_referrals_settle(struct cn_op *op, struct cn_record *patient)
{
    struct cn_records open = referrals_open(op, patient->id);
    if (cn_failed(op)) {
        return;
    }
    referrals_require(op, patient->id, open);
    for (size_t i = 0; i < open.count; i++) {
        struct cn_record *referral = &open.items[i];
        referral->beside = patient;
        referral_settle(op, referral, soc_rule(op, referral));
        referral_put_along(op, referral);
    }
}

void patient_put_along(struct cn_op *op, struct cn_record *patient)
{
    if (!cn_changed(op, patient)) {
        patient_require(op, patient);
        return;
    }
    cn_also_tell(patient, "patient.updated");
    cn_lock(op, "patient", patient->id);
    cn_put_part(op, patient);
    patient_referrals_settle(op, patient);
}
