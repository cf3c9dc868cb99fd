/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/patient.h"

#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"
#include "services/referrals/warning.h"

#include <string.h>

/* ---- fields as text, for people ---- */

static const char *
s_joined(struct cn_arena *arena, const char *text, const char *more)
{
    if (more == NULL || more[0] == '\0') {
        return text;
    }
    return text == NULL ? more : cn_arena_printf(arena, "%s, %s", text, more);
}

static const char *
s_message_text(struct cn_arena *arena, const char *text, const void *message);

/* A value in words. The recursion ends with the types: none contains itself. */
static const char *s_value_text(struct cn_arena *arena,
                                const ProtobufCFieldDescriptor *field,
                                const void *value)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return *(const char *const *)value;
    case PROTOBUF_C_TYPE_ENUM:
        return cn_enum_word(field->descriptor, *(const int *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return *(const protobuf_c_boolean *)value ? field->name : "no";
    case PROTOBUF_C_TYPE_MESSAGE:
        return s_message_text(arena, NULL, *(const void *const *)value);
    default:
        return NULL;
    }
}

/* Appends what a field says, if anything. */
static const char *s_fact_text(struct cn_arena *arena,
                               const char *text,
                               const void *message,
                               const ProtobufCFieldDescriptor *field)
{
    const char *base = message;
    const void *value = base + field->offset;
    const void *quantifier = base + field->quantifier_offset;
    size_t count = 1;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        count = *(const size_t *)quantifier;
        value = *(const char *const *)value;
    } else if (field->type == PROTOBUF_C_TYPE_STRING ||
               field->type == PROTOBUF_C_TYPE_MESSAGE) {
        count = *(const void *const *)value != NULL ? 1 : 0;
    } else {
        count = *(const protobuf_c_boolean *)quantifier ? 1 : 0;
    }
    for (size_t i = 0; i < count; i++) {
        text = s_joined(
            arena, text,
            s_value_text(arena, field,
                         (const char *)value + i * cn_field_size(field)));
    }
    return text;
}

static const char *
s_message_text(struct cn_arena *arena, const char *text, const void *message)
{
    const ProtobufCMessageDescriptor *type =
        ((const ProtobufCMessage *)message)->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        text = s_fact_text(arena, text, message, &type->fields[i]);
    }
    return text;
}

/* The numbers by which the patient is found, without those of `but`. */
static const char *s_numbers_text(struct cn_arena *arena,
                                  const Ref__Patient *patient,
                                  const Ref__Patient *but)
{
    const char *systems[2][PATIENT_KEYS_MAX];
    const char *values[2][PATIENT_KEYS_MAX];
    const char *text = NULL;
    size_t count =
        patient_keys(arena, patient, systems[0], values[0], PATIENT_KEYS_MAX);
    size_t but_count =
        patient_keys(arena, but, systems[1], values[1], PATIENT_KEYS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool both = false;
        for (size_t j = 0; j < but_count; j++) {
            both = both || (strcmp(systems[0][i], systems[1][j]) == 0 &&
                            strcmp(values[0][i], values[1][j]) == 0);
        }
        if (!both) {
            text = s_joined(
                arena, text,
                cn_arena_printf(arena, "%s %s", systems[0][i], values[0][i]));
        }
    }
    return text;
}

/* ---- filling ---- */

static void s_field_fill(Ref__Patient *here,
                         const Ref__Patient *sent,
                         const ProtobufCFieldDescriptor *field)
{
    char *to = (char *)here;
    const char *from = (const char *)sent;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        memcpy(to + field->offset, from + field->offset, sizeof(void *));
        memcpy(to + field->quantifier_offset, from + field->quantifier_offset,
               sizeof(size_t));
        return;
    }
    memcpy(to + field->offset, from + field->offset, cn_field_size(field));
    if (field->type != PROTOBUF_C_TYPE_STRING &&
        field->type != PROTOBUF_C_TYPE_MESSAGE) {
        memcpy(to + field->quantifier_offset, from + field->quantifier_offset,
               sizeof(protobuf_c_boolean));
    }
}

/* The fields that a later referral may tell of a patient. */
static const char *const FACTS[] = {
    "name",     "birth_date",  "sex",         "phones",
    "email",    "address",     "language",    "time_zone",
    "contacts", "preferences", "commitments", "interpreter_needed",
};

static void s_differ(struct cn_op *op,
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
    for (size_t i = 0; i < CN_COUNT(FACTS); i++) {
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(
                &ref__patient__descriptor, FACTS[i]);
        const char *kept = s_fact_text(op->arena, NULL, here, field);
        const char *told = s_fact_text(op->arena, NULL, sent, field);
        if (told == NULL || (kept != NULL && strcasecmp(kept, told) == 0)) {
            continue;
        }
        if (kept == NULL) {
            s_field_fill(here, sent, field);
            continue;
        }
        s_differ(op, referral,
                 cn_arena_printf(op->arena, "patient.%s", FACTS[i]), told,
                 kept);
    }
    /* A further number finds nobody until a person says whose it is. */
    const char *numbers = s_numbers_text(op->arena, sent, here);
    if (numbers != NULL) {
        s_differ(op, referral, "patient.identifiers", numbers,
                 s_numbers_text(op->arena, here, sent));
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
