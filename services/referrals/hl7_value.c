/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/hl7_value.h"

#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "common/wire/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { OLDEST_DAYS = 120 * 365 + 30 };

/* ---- warnings ---- */

static void
s_warn(struct hl7_reader *self, struct hl7_place place, const char *code)
{
    const char *sent = cn_hl7_sent(self->message, place.segment, place.field,
                                   place.repetition);
    if (sent == NULL) {
        return;
    }
    const struct warning warning = {
        .code = code,
        .field = cn_arena_printf(self->arena, "%s-%d", place.segment->name,
                                 place.field),
        .sent = sent,
    };
    referral_warn_of(self->arena, self->referral, &warning);
}

void hl7_not_understood(struct hl7_reader *self, struct hl7_place place)
{
    s_warn(self, place, "value_not_understood");
}

void hl7_not_kept(struct hl7_reader *self, struct hl7_place place)
{
    s_warn(self, place, "value_not_kept");
}

void hl7_doubtful(struct hl7_reader *self, struct hl7_place place)
{
    s_warn(self, place, "value_doubtful");
}

/* ---- texts ---- */

struct hl7_place hl7_at(const struct cn_hl7_segment *segment, int field)
{
    return (struct hl7_place){ segment, field, 1 };
}

int hl7_count(struct hl7_reader *self, struct hl7_place place)
{
    int count = cn_hl7_repetitions(self->message, place.segment, place.field);
    if (count == CN_HL7_REPETITIONS_MAX) {
        place.repetition = count;
        hl7_not_kept(self, place);
    }
    return count;
}

static const char *s_component_line(const struct hl7_reader *self,
                                    struct hl7_place place,
                                    int component)
{
    return cn_hl7_line(self->arena,
                       cn_hl7_text(self->message, place.segment, place.field,
                                   place.repetition, component));
}

const char *hl7_fit(struct hl7_reader *self,
                    struct hl7_place place,
                    const char *text,
                    size_t max)
{
    size_t size = text != NULL ? strlen(text) : 0;
    size_t fits = cn_text_fit(text, size, max);
    if (fits == size) {
        return text;
    }
    s_warn(self, place, "text_shortened");
    return cn_arena_strndup(self->arena, text, fits);
}

/* All of the component: some senders do not escape a subcomponent's delimiter
 * in plain text. */
const char *hl7_lines(struct hl7_reader *self,
                      struct hl7_place place,
                      int component,
                      size_t max)
{
    return hl7_fit(self, place,
                   cn_hl7_whole(self->message, place.segment, place.field,
                                place.repetition, component),
                   max);
}

const char *hl7_word(struct hl7_reader *self,
                     struct hl7_place place,
                     int component,
                     size_t max)
{
    const char *text = cn_hl7_whole(self->message, place.segment, place.field,
                                    place.repetition, component);
    return hl7_fit(self, place, cn_hl7_line(self->arena, text), max);
}

const char *hl7_either(const char *a, const char *b)
{
    return a != NULL ? a : b;
}

const char *hl7_lower(struct hl7_reader *self, const char *text)
{
    char *lower = cn_arena_strdup(self->arena, text);
    for (char *c = lower; c != NULL && *c != '\0'; c++) {
        *c = (char)tolower((unsigned char)*c);
    }
    return lower;
}

const char *hl7_join(struct hl7_reader *self,
                     const char *const *parts,
                     size_t count,
                     const char *separator)
{
    const char *text = NULL;
    for (size_t i = 0; i < count; i++) {
        if (parts[i] != NULL) {
            text = text == NULL ? parts[i]
                                : cn_arena_printf(self->arena, "%s%s%s", text,
                                                  separator, parts[i]);
        }
    }
    return text;
}

const struct hl7_code *
hl7_code_find(const struct hl7_code *rows, size_t count, const char *sent)
{
    for (size_t i = 0; sent != NULL && i < count; i++) {
        if (strcasecmp(sent, rows[i].sent) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* ---- names ---- */

/* FN: 1 the whole surname; where it is empty, 2 and 3 its own prefix and rest,
 * 4 and 5 those of the partner's. */
const char *hl7_family_name(struct hl7_reader *self, struct hl7_place place)
{
    const struct cn_hl7 *message = self->message;
    const char *parts[4];
    const char *whole = s_component_line(self, place, 1);
    for (int i = 0; i < 4; i++) {
        parts[i] = cn_hl7_line(self->arena,
                               cn_hl7_sub(message, place.segment, place.field,
                                          place.repetition, 1, i + 2));
    }
    return hl7_either(whole, hl7_join(self, parts, CN_COUNT(parts), " "));
}

const char *hl7_person_name(struct hl7_reader *self, struct hl7_place place)
{
    const char *const parts[] = { hl7_word(self, place, 2, 200),
                                  hl7_word(self, place, 3, 200),
                                  hl7_family_name(self, place),
                                  hl7_word(self, place, 4, 200) };
    return hl7_name(
        self, place,
        hl7_fit(self, place, hl7_join(self, parts, CN_COUNT(parts), " "), 200));
}

const char *
hl7_name(struct hl7_reader *self, struct hl7_place place, const char *text)
{
    if (text != NULL && !cn_text_is_name(text)) {
        hl7_not_understood(self, place);
        return NULL;
    }
    return text;
}

/* Table 0200: the lower, the sooner it is the name in law. */
static int s_name_rank(const char *type)
{
    static const struct hl7_code TYPES[] = {
        { "L", NULL, 1 }, { "OR", NULL, 1 }, { "D", NULL, 3 }, { "C", NULL, 3 },
        { "M", NULL, 5 }, { "B", NULL, 5 },  { "N", NULL, 6 }, { "A", NULL, 6 },
        { "S", NULL, 6 }, { "P", NULL, 6 },  { "T", NULL, 6 },
    };
    const struct hl7_code *row = hl7_code_find(TYPES, CN_COUNT(TYPES), type);
    return type == NULL ? 2 : row != NULL ? row->value : 4;
}

struct hl7_place hl7_legal_name(struct hl7_reader *self, struct hl7_place place)
{
    int count = hl7_count(self, place);
    int best = 0;
    for (int i = 1; i <= count; i++) {
        struct hl7_place at = { place.segment, place.field, i };
        int rank = s_name_rank(s_component_line(self, at, 7));
        bool named = hl7_family_name(self, at) != NULL ||
                     s_component_line(self, at, 2) != NULL;
        if (named && (best == 0 || rank < best)) {
            best = rank;
            place.repetition = i;
        }
    }
    for (int i = 1; i <= count; i++) {
        if (i != place.repetition) {
            hl7_not_kept(self,
                         (struct hl7_place){ place.segment, place.field, i });
        }
    }
    return place;
}

/* ---- addresses ---- */

/* The two letters of a state of the USA by its name. */
static const struct hl7_code STATES[] = {
    { "Alabama", "AL", 0 },
    { "Alaska", "AK", 0 },
    { "Arizona", "AZ", 0 },
    { "Arkansas", "AR", 0 },
    { "California", "CA", 0 },
    { "Colorado", "CO", 0 },
    { "Connecticut", "CT", 0 },
    { "Delaware", "DE", 0 },
    { "Florida", "FL", 0 },
    { "Georgia", "GA", 0 },
    { "Hawaii", "HI", 0 },
    { "Idaho", "ID", 0 },
    { "Illinois", "IL", 0 },
    { "Indiana", "IN", 0 },
    { "Iowa", "IA", 0 },
    { "Kansas", "KS", 0 },
    { "Kentucky", "KY", 0 },
    { "Louisiana", "LA", 0 },
    { "Maine", "ME", 0 },
    { "Maryland", "MD", 0 },
    { "Massachusetts", "MA", 0 },
    { "Michigan", "MI", 0 },
    { "Minnesota", "MN", 0 },
    { "Mississippi", "MS", 0 },
    { "Missouri", "MO", 0 },
    { "Montana", "MT", 0 },
    { "Nebraska", "NE", 0 },
    { "Nevada", "NV", 0 },
    { "New Hampshire", "NH", 0 },
    { "New Jersey", "NJ", 0 },
    { "New Mexico", "NM", 0 },
    { "New York", "NY", 0 },
    { "North Carolina", "NC", 0 },
    { "North Dakota", "ND", 0 },
    { "Ohio", "OH", 0 },
    { "Oklahoma", "OK", 0 },
    { "Oregon", "OR", 0 },
    { "Pennsylvania", "PA", 0 },
    { "Rhode Island", "RI", 0 },
    { "South Carolina", "SC", 0 },
    { "South Dakota", "SD", 0 },
    { "Tennessee", "TN", 0 },
    { "Texas", "TX", 0 },
    { "Utah", "UT", 0 },
    { "Vermont", "VT", 0 },
    { "Virginia", "VA", 0 },
    { "Washington", "WA", 0 },
    { "West Virginia", "WV", 0 },
    { "Wisconsin", "WI", 0 },
    { "Wyoming", "WY", 0 },
    { "District of Columbia", "DC", 0 },
    { "Puerto Rico", "PR", 0 },
    { "Guam", "GU", 0 },
    { "Virgin Islands", "VI", 0 },
    { "American Samoa", "AS", 0 },
    { "Northern Mariana Islands", "MP", 0 },
};

static const char *s_state_code(struct hl7_reader *self, const char *sent)
{
    const struct hl7_code *known =
        hl7_code_find(STATES, CN_COUNT(STATES), sent);
    if (known != NULL) {
        return known->text;
    }
    if (sent == NULL || strlen(sent) != 2 || !isalpha((unsigned char)sent[0]) ||
        !isalpha((unsigned char)sent[1])) {
        return NULL;
    }
    return cn_arena_printf(self->arena, "%c%c", toupper((unsigned char)sent[0]),
                           toupper((unsigned char)sent[1]));
}

/* Five or nine digits, with or without a hyphen or a blank between. */
static const char *s_postal_code(struct hl7_reader *self, const char *sent)
{
    char digits[10] = "";
    size_t count = 0;
    for (const char *c = sent; c != NULL && *c != '\0'; c++) {
        bool is_gap = (*c == '-' || *c == ' ') && (count == 5 || c[1] == '\0');
        if (is_gap) {
            continue;
        }
        if (!isdigit((unsigned char)*c) || count >= 9) {
            return NULL;
        }
        digits[count++] = *c;
    }
    if (count == 9) {
        return cn_arena_printf(self->arena, "%.5s-%s", digits, digits + 5);
    }
    return count == 5 ? cn_arena_strdup(self->arena, digits) : NULL;
}

/* SAD: 1 street with its number, or one of them; 2 street; 3 number. */
static const char *s_street(struct hl7_reader *self, struct hl7_place place)
{
    const char *part[4] = { NULL };
    for (int i = 1; i <= 3; i++) {
        part[i] = cn_hl7_line(self->arena,
                              cn_hl7_sub(self->message, place.segment,
                                         place.field, place.repetition, 1, i));
    }
    bool has_street =
        part[1] != NULL && part[2] != NULL && strstr(part[1], part[2]) != NULL;
    bool has_number =
        part[1] != NULL && part[3] != NULL && strstr(part[1], part[3]) != NULL;
    const char *const parts[] = { has_number ? NULL : part[3], part[1],
                                  has_street ? NULL : part[2] };
    return hl7_fit(self, place, hl7_join(self, parts, CN_COUNT(parts), " "),
                   200);
}

/* Table 0190: the lower, the sooner a nurse finds the patient there. 0: it is
 * no place where anybody lives. */
static int s_address_rank(const char *type)
{
    static const struct hl7_code TYPES[] = {
        { "H", NULL, 1 },  { "RH", NULL, 1 },  { "P", NULL, 2 },
        { "M", NULL, 3 },  { "L", NULL, 3 },   { "C", NULL, 4 },
        { "TM", NULL, 4 }, { "V", NULL, 4 },   { "BA", NULL, 0 },
        { "N", NULL, 0 },  { "BDL", NULL, 0 }, { "BR", NULL, 0 },
        { "F", NULL, 0 },  { "B", NULL, 0 },   { "O", NULL, 0 },
        { "BI", NULL, 0 }, { "S", NULL, 0 },   { "SH", NULL, 0 },
    };
    const struct hl7_code *row = hl7_code_find(TYPES, CN_COUNT(TYPES), type);
    return type == NULL ? 2 : row != NULL ? row->value : 5;
}

static bool s_is_usa(const char *country)
{
    static const struct hl7_code NAMES[] = {
        { "US", NULL, 0 },
        { "USA", NULL, 0 },
        { "840", NULL, 0 },
        { "UNITED STATES", NULL, 0 },
        { "UNITED STATES OF AMERICA", NULL, 0 },
    };
    return country == NULL ||
           hl7_code_find(NAMES, CN_COUNT(NAMES), country) != NULL;
}

static Ref__Patient__Address *s_address_of(struct hl7_reader *self,
                                           struct hl7_place place)
{
    Ref__Patient__Address *address =
        CN_NEW(self->arena, ref__patient__address, Ref__Patient__Address);
    const char *const lines[] = { s_street(self, place),
                                  hl7_word(self, place, 2, 200) };
    const char *state = s_component_line(self, place, 4);
    const char *code = s_component_line(self, place, 5);
    bool at_home = s_is_usa(s_component_line(self, place, 6));
    address->lines =
        cn_arena_array(self->arena, CN_COUNT(lines), sizeof(*address->lines));
    for (size_t i = 0; i < CN_COUNT(lines); i++) {
        if (lines[i] != NULL) {
            address->lines[address->n_lines++] = lines[i];
        }
    }
    address->city = hl7_word(self, place, 3, 100);
    address->state = s_state_code(self, state);
    address->postal_code = at_home ? s_postal_code(self, code) : NULL;
    if (!at_home || (state != NULL && address->state == NULL) ||
        (code != NULL && address->postal_code == NULL)) {
        hl7_not_understood(self, place);
    }
    return address->n_lines > 0 || address->city != NULL ||
                   address->state != NULL || address->postal_code != NULL
               ? address
               : NULL;
}

/* Does it say any place? */
static bool s_says_place(struct hl7_reader *self, struct hl7_place place)
{
    bool has = s_street(self, place) != NULL;
    for (int i = 2; i <= 5; i++) {
        has = has || s_component_line(self, place, i) != NULL;
    }
    return has;
}

Ref__Patient__Address *hl7_address(struct hl7_reader *self,
                                   struct hl7_place place)
{
    int count = hl7_count(self, place);
    int best = 0;
    for (int i = 1; i <= count; i++) {
        struct hl7_place at = { place.segment, place.field, i };
        const char *bad = s_component_line(self, at, 17); /* since v2.6 */
        int rank = bad != NULL && strcasecmp(bad, "Y") == 0
                       ? 0
                       : s_address_rank(s_component_line(self, at, 7));
        if (rank > 0 && (best == 0 || rank < best) && s_says_place(self, at)) {
            best = rank;
            place.repetition = i;
        }
    }
    for (int i = 1; i <= count; i++) {
        if (best == 0 || i != place.repetition) {
            hl7_not_kept(self,
                         (struct hl7_place){ place.segment, place.field, i });
        }
    }
    return best > 0 ? s_address_of(self, place) : NULL;
}

/* ---- telecommunication ---- */

/* The extension that begins here: "x7", "ext. 7", "#7". Its digits, or NULL. */
static const char *s_extension(const char *at, size_t *ret_size)
{
    static const char *const WORDS[] = { "extension", "ext.", "ext",
                                         "x.",        "x",    "#" };
    for (size_t i = 0; i < CN_COUNT(WORDS); i++) {
        size_t size = strlen(WORDS[i]);
        if (strncasecmp(at, WORDS[i], size) == 0) {
            size += strspn(at + size, " :");
            size_t digits = strspn(at + size, "0123456789");
            *ret_size = size + digits;
            return digits > 0 ? at + size : NULL;
        }
    }
    return NULL;
}

/* TN of v2.3, and what people write: a number, perhaps an extension, perhaps
 * words. The number with " x7"; *ret_rest tells that words were left. NULL when
 * there is none. */
static const char *
s_phone(struct hl7_reader *self, const char *sent, bool *ret_rest)
{
    char *out = cn_arena_alloc(self->arena, 2 * strlen(sent) + 4);
    size_t used = 0;
    size_t digits = 0;
    const char *at = strncasecmp(sent, "tel:", 4) == 0 ? sent + 4 : sent;
    while (*at != '\0') {
        size_t size = 0;
        const char *extension = digits >= 7 ? s_extension(at, &size) : NULL;
        if (extension != NULL) {
            while (used > 0 && strchr(" -.(", out[used - 1]) != NULL) {
                used--;
            }
            size_t length = (size_t)(at + size - extension);
            memcpy(out + used, " x", 2);
            memcpy(out + used + 2, extension, length);
            used += 2 + length;
            at += size;
            break;
        }
        if (strchr("0123456789+-(). /", *at) == NULL) {
            if (digits >= 7) {
                break;
            }
            *ret_rest = true;
            at++;
            continue;
        }
        digits += isdigit((unsigned char)*at) ? 1 : 0;
        out[used++] = (char)(*at == '/' ? '-' : *at);
        at++;
    }
    at += strspn(at, " ");
    *ret_rest = *ret_rest || *at != '\0';
    while (used > 0 && strchr(" -.(", out[used - 1]) != NULL) {
        used--;
    }
    out[used] = '\0';
    return digits >= 7 && cn_json_pattern("phone", out + strspn(out, " "))
               ? out + strspn(out, " ")
               : NULL;
}

/* Components of one XTN. */
struct xtn {
    const char *part[13];
};

static struct xtn s_xtn(struct hl7_reader *self, struct hl7_place place)
{
    struct xtn xtn = { { NULL } };
    for (int i = 1; i <= 12; i++) {
        xtn.part[i] = s_component_line(self, place, i);
    }
    return xtn;
}

/* Country (but for that of the USA), area, local number. NULL: no local one. */
static const char *s_xtn_number(struct hl7_reader *self, const struct xtn *xtn)
{
    const char *country = xtn->part[5];
    bool abroad = country != NULL && strcmp(country, "1") != 0 &&
                  strcmp(country, "+1") != 0;
    const char *const parts[] = { abroad ? cn_arena_printf(
                                               self->arena, "+%s",
                                               country + strspn(country, "+"))
                                         : NULL,
                                  xtn->part[6], xtn->part[7] };
    return xtn->part[7] != NULL ? hl7_join(self, parts, CN_COUNT(parts), " ")
                                : NULL;
}

/* The digits of a number alone, without those of its extension. */
static const char *s_digits(struct hl7_reader *self, const char *number)
{
    char *digits = cn_arena_alloc(self->arena, strlen(number) + 1);
    size_t used = 0;
    for (const char *c = number; *c != '\0' && *c != 'x'; c++) {
        if (isdigit((unsigned char)*c)) {
            digits[used++] = *c;
        }
    }
    return digits;
}

/* Is the number the other one, perhaps without its country or area? */
static bool
s_is_part(struct hl7_reader *self, const char *whole, const char *number)
{
    const char *one = s_digits(self, whole);
    const char *two = s_digits(self, number);
    return strstr(one, two) != NULL || strstr(two, one) != NULL;
}

static bool s_same_digits(const char *a, const char *b)
{
    for (;; a++, b++) {
        a += strcspn(a, "0123456789");
        b += strcspn(b, "0123456789");
        if (*a != *b || *a == '\0') {
            return *a == *b;
        }
    }
}

/* Adds an item unless it is there; a full list is a warning. */
static void s_telecom_add(struct hl7_reader *self,
                          struct hl7_telecom *items,
                          size_t *count,
                          struct hl7_telecom item)
{
    for (size_t i = 0; i < *count; i++) {
        bool is_mail = strchr(item.text, '@') != NULL;
        if (is_mail ? strcasecmp(items[i].text, item.text) == 0
                    : s_same_digits(items[i].text, item.text)) {
            return;
        }
    }
    if (*count >= HL7_TELECOMS_MAX) {
        hl7_not_kept(self, item.place);
        return;
    }
    items[(*count)++] = item;
}

/* The e-mails of an XTN: component 4, or 1, 12, 7 where senders put them. False
 * when one is none. */
static bool s_emails_add(struct hl7_reader *self,
                         struct hl7_place place,
                         const struct xtn *xtn,
                         struct hl7_telecoms *telecoms)
{
    static const int WHERE[] = { 4, 1, 12, 7 };
    bool all_good = true;
    for (size_t i = 0; i < CN_COUNT(WHERE); i++) {
        const char *text = xtn->part[WHERE[i]];
        if (text == NULL || strchr(text, '@') == NULL) {
            continue;
        }
        text += strncasecmp(text, "mailto:", 7) == 0 ? 7 : 0;
        if (cn_json_pattern("email", text)) {
            s_telecom_add(self, telecoms->emails, &telecoms->email_count,
                          (struct hl7_telecom){ text, place });
        } else {
            all_good = false;
        }
    }
    return all_good;
}

/* The numbers of an XTN: 12, or 5 to 7, or 1 before v2.7. They are one number
 * unless they differ. False when one is none; *ret_rest: words were left. */
static bool s_numbers_add(struct hl7_reader *self,
                          struct hl7_place place,
                          const struct xtn *xtn,
                          struct hl7_telecoms *telecoms,
                          bool *ret_rest)
{
    const char *const sent[] = { xtn->part[12], s_xtn_number(self, xtn),
                                 xtn->part[1] };
    const char *first = NULL;
    bool is_fax = xtn->part[3] != NULL && strcasecmp(xtn->part[3], "FX") == 0;
    bool all_good = true;
    for (size_t i = 0; i < CN_COUNT(sent); i++) {
        bool extends = sent[i] != NULL && xtn->part[8] != NULL &&
                       strpbrk(sent[i], "xX") == NULL;
        if (sent[i] == NULL || strchr(sent[i], '@') != NULL) {
            continue;
        }
        const char *phone =
            s_phone(self,
                    extends ? cn_arena_printf(self->arena, "%s x%s", sent[i],
                                              xtn->part[8])
                            : sent[i],
                    ret_rest);
        all_good = all_good && (phone != NULL || first != NULL);
        *ret_rest = *ret_rest || (phone == NULL && first != NULL);
        if (phone != NULL &&
            (first == NULL || !s_is_part(self, first, phone))) {
            s_telecom_add(self, is_fax ? telecoms->faxes : telecoms->phones,
                          is_fax ? &telecoms->fax_count
                                 : &telecoms->phone_count,
                          (struct hl7_telecom){ phone, place });
        }
        first = hl7_either(first, phone);
    }
    *ret_rest = *ret_rest || (first != NULL && xtn->part[8] != NULL &&
                              strstr(first, xtn->part[8]) == NULL);
    return all_good;
}

/* Nobody answers a pager (BP) or a modem (MD), and no number has as many digits
 * as two in a row (E.164 has 15, with 011 before them 18). */
static bool s_is_doubtful(const struct xtn *xtn, const char *phone)
{
    static const struct hl7_code DEVICES[] = { { "BP", NULL, 0 },
                                               { "MD", NULL, 0 } };
    size_t digits = 0;
    for (const char *c = phone; *c != '\0' && *c != 'x'; c++) {
        digits += isdigit((unsigned char)*c) ? 1 : 0;
    }
    return digits > 18 ||
           hl7_code_find(DEVICES, CN_COUNT(DEVICES), xtn->part[3]) != NULL;
}

static void s_telecom_read(struct hl7_reader *self,
                           struct hl7_place place,
                           struct hl7_telecoms *telecoms)
{
    /* Words in the place of an e-mail that name the kind of number. */
    static const struct hl7_code LABELS[] = {
        { "HOME", NULL, 0 }, { "WORK", NULL, 0 },   { "EMAIL", NULL, 0 },
        { "CELL", NULL, 0 }, { "MOBILE", NULL, 0 }, { "E-MAIL", NULL, 0 },
    };
    const struct xtn xtn = s_xtn(self, place);
    const char *word = xtn.part[4];
    bool labelled = word == NULL || strchr(word, '@') != NULL ||
                    hl7_code_find(LABELS, CN_COUNT(LABELS), word) != NULL;
    bool rest = xtn.part[9] != NULL || xtn.part[11] != NULL || !labelled ||
                (xtn.part[6] != NULL && xtn.part[7] == NULL);
    size_t before = telecoms->phone_count;
    bool good_emails = s_emails_add(self, place, &xtn, telecoms);
    if (!s_numbers_add(self, place, &xtn, telecoms, &rest) || !good_emails) {
        hl7_not_understood(self, place);
    } else if (rest) {
        hl7_not_kept(self, place);
    }
    for (size_t i = before; i < telecoms->phone_count; i++) {
        if (s_is_doubtful(&xtn, telecoms->phones[i].text)) {
            hl7_doubtful(self, place);
        }
    }
}

void hl7_telecoms_read(struct hl7_reader *self,
                       struct hl7_place place,
                       struct hl7_telecoms *telecoms)
{
    int count = hl7_count(self, place);
    for (int i = 1; i <= count; i++) {
        place.repetition = i;
        s_telecom_read(self, place, telecoms);
    }
}

void hl7_telecoms_left(struct hl7_reader *self,
                       const struct hl7_telecom *items,
                       size_t count,
                       size_t from)
{
    for (size_t i = from; i < count; i++) {
        hl7_not_kept(self, items[i].place);
    }
}

const char *hl7_telecom_one(struct hl7_reader *self,
                            const struct hl7_telecom *items,
                            size_t count)
{
    hl7_telecoms_left(self, items, count, 1);
    return count > 0 ? items[0].text : NULL;
}

/* ---- days ---- */

/* YYYYMMDD at the beginning, or YYYY-MM-DD. */
static bool s_hl7_date(const char *sent, struct cn_date *ret_date)
{
    char text[11];
    bool dashed = strspn(sent, "0123456789") == 4 && sent[4] == '-';
    if (!dashed && strspn(sent, "0123456789") < 8) {
        return false;
    }
    (void)snprintf(text, sizeof(text), dashed ? "%.10s" : "%.4s-%.2s-%.2s",
                   sent, sent + 4, sent + (dashed ? 4 : 6));
    return cn_date_parse(text, ret_date);
}

static int s_two_digits(const char *text)
{
    return (text[0] - '0') * 10 + text[1] - '0';
}

/* A time of day with the offset of UTC: YYYYMMDDHH[MM[SS[.S]]]+0000. */
static bool s_utc(const char *sent, struct cn_date date, int64_t *ret_at)
{
    size_t digits = strspn(sent, "0123456789");
    const char *offset = strpbrk(sent + digits, "+-");
    int hour = digits < 10 ? 0 : s_two_digits(sent + 8);
    int minute = digits < 12 ? 0 : s_two_digits(sent + 10);
    if (digits < 10 || offset == NULL || strspn(offset + 1, "0") != 4 ||
        offset[5] != '\0' || hour > 23 || minute > 59) {
        return false;
    }
    *ret_at = cn_date_days(date) * CN_DAY + hour * CN_HOUR + minute * CN_MINUTE;
    return true;
}

static const char *s_day_text(struct hl7_reader *self, struct cn_date date)
{
    char text[CN_TIME_TEXT_MAX];
    cn_date_format(date, text);
    return cn_arena_strdup(self->arena, text);
}

/* The day of a place; false when it is none, or when TS.2 (before v2.6) says
 * that only its year or month is meant. Further days are a warning. */
static bool s_day(struct hl7_reader *self,
                  struct hl7_place place,
                  const char *sent,
                  struct cn_date *ret_date)
{
    const char *precision = s_component_line(self, place, 2);
    int count = hl7_count(self, place);
    struct hl7_place other = place;
    for (other.repetition = 2; other.repetition <= count; other.repetition++) {
        hl7_not_kept(self, other);
    }
    return s_hl7_date(sent, ret_date) &&
           (precision == NULL || strchr("YyLl", precision[0]) == NULL);
}

const char *hl7_day(struct hl7_reader *self, struct hl7_place place)
{
    const char *sent = s_component_line(self, place, 1);
    struct cn_date date;
    struct cn_civil civil;
    int64_t at = 0;
    if (sent == NULL) {
        return NULL;
    }
    if (!s_day(self, place, sent, &date)) {
        hl7_not_understood(self, place);
        return NULL;
    }
    if (s_utc(sent, date, &at) && self->zone != NULL &&
        cn_zone_civil(self->zone, at, &civil)) {
        date = civil.date;
    }
    const char *day = s_day_text(self, date);
    if (!cn_date_is_plausible(day)) {
        hl7_not_understood(self, place);
        return NULL;
    }
    return day;
}

static struct cn_date s_today(const struct hl7_reader *self)
{
    struct cn_civil today = { .date = { 0 } };
    if (self->zone == NULL ||
        !cn_zone_civil(self->zone, self->now_at, &today)) {
        (void)!cn_zone_civil("UTC", self->now_at, &today);
    }
    return today.date;
}

const char *hl7_birth_day(struct hl7_reader *self, struct hl7_place place)
{
    const char *sent = s_component_line(self, place, 1);
    struct cn_date date;
    struct cn_date oldest = cn_date_add(s_today(self), -OLDEST_DAYS);
    if (sent == NULL) {
        return NULL;
    }
    const char *day =
        s_day(self, place, sent, &date) ? s_day_text(self, date) : NULL;
    if (day == NULL || !cn_birth_date_is_plausible(day, self->now_at)) {
        hl7_not_understood(self, place);
        return NULL;
    }
    if (cn_date_compare(date, oldest) < 0) {
        hl7_doubtful(self, place);
    }
    return day;
}

/* ---- identifiers and codes ---- */

/* HD: 1 namespace, 2 universal id. */
static const char *
s_namespace(struct hl7_reader *self, struct hl7_place place, int component)
{
    const char *name = s_component_line(self, place, component);
    return hl7_either(
        name, cn_hl7_line(self->arena,
                          cn_hl7_sub(self->message, place.segment, place.field,
                                     place.repetition, component, 2)));
}

const char *hl7_sender(struct hl7_reader *self)
{
    const struct cn_hl7_segment *msh = self->message->segments;
    return hl7_either(s_component_line(self, hl7_at(msh, 4), 1),
                      s_component_line(self, hl7_at(msh, 3), 1));
}

const char *hl7_authority(struct hl7_reader *self, struct hl7_place place)
{
    const char *named =
        hl7_either(s_namespace(self, place, 4), s_namespace(self, place, 6));
    return hl7_fit(self, place, hl7_either(named, hl7_sender(self)), 200);
}

/* Table 0396 and other spellings of what it names. */
const char *hl7_code_system(struct hl7_reader *self,
                            struct hl7_place place,
                            const char *sent)
{
    static const struct hl7_code SYSTEMS[] = {
        { "I10", "icd-10-cm", 0 },
        { "I10C", "icd-10-cm", 0 },
        { "ICD10", "icd-10-cm", 0 },
        { "ICD10CM", "icd-10-cm", 0 },
        { "2168401113883690", "icd-10-cm", 0 },
        { "HTTPHL7ORGFHIRSIDICD10CM", "icd-10-cm", 0 },
        { "I9", "icd-9-cm", 0 },
        { "I9C", "icd-9-cm", 0 },
        { "I9CDX", "icd-9-cm", 0 },
        { "ICD9", "icd-9-cm", 0 },
        { "ICD9CM", "icd-9-cm", 0 },
        { "SCT", "snomed-ct", 0 },
        { "SNM", "snomed-ct", 0 },
        { "SNOMED", "snomed-ct", 0 },
        { "SNOMEDCT", "snomed-ct", 0 },
        { "2168401113883696", "snomed-ct", 0 },
        { "HTTPSNOMEDINFOSCT", "snomed-ct", 0 },
    };
    /* With a year or a release behind it. */
    static const struct hl7_code EDITIONS[] = {
        { "ICD10CM", "icd-10-cm", 0 },
        { "ICD9CM", "icd-9-cm", 0 },
        { "SNOMEDCT", "snomed-ct", 0 },
    };
    char word[64];
    size_t used = 0;
    for (const char *c = sent; c != NULL && *c != '\0' && used < 63; c++) {
        if (isalnum((unsigned char)*c)) {
            word[used++] = (char)toupper((unsigned char)*c);
        }
    }
    word[used] = '\0';
    const char *from = strncmp(word, "URNOID", 6) == 0 ? word + 6 : word;
    const struct hl7_code *known =
        hl7_code_find(SYSTEMS, CN_COUNT(SYSTEMS), from);
    for (size_t i = 0; known == NULL && i < CN_COUNT(EDITIONS); i++) {
        bool is_edition =
            strncmp(from, EDITIONS[i].sent, strlen(EDITIONS[i].sent)) == 0;
        known = is_edition ? &EDITIONS[i] : NULL;
    }
    return known != NULL ? known->text : hl7_fit(self, place, sent, 60);
}
