/* SPDX-License-Identifier: Apache-2.0 */
/* Texts in JSON: words of enums, patterns, base64. */
#include "common/base/array.h"
#include "common/wire/json_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORD_MAX = 48,   /* proto/plugin refuses longer words */
    WORDS_MAX = 2048 /* of all enums */
};

static size_t word_lower(const char *name, char word[WORD_MAX])
{
    size_t i = 0;
    for (; name[i] != '\0' && i < WORD_MAX - 1; i++) {
        word[i] = (char)tolower((unsigned char)name[i]);
    }
    word[i] = '\0';
    return i;
}

/* protobuf-c keeps only the upper-case names. The lower-case words are made at
 * their first use and stay for the life of the process, at most one for each
 * value of the protos. Only the loop's thread comes here. */
const char *cn_enum_word(const ProtobufCEnumDescriptor *descriptor, int value)
{
    static struct {
        const ProtobufCEnumValue *key;
        char word[WORD_MAX];
    } words[WORDS_MAX];
    const ProtobufCEnumValue *key =
        protobuf_c_enum_descriptor_get_value(descriptor, value);
    if (key == NULL) {
        return NULL;
    }
    size_t at = ((uintptr_t)key / sizeof(*key)) % WORDS_MAX;
    for (size_t tries = 0; tries < WORDS_MAX; tries++) {
        if (words[at].key == NULL) {
            (void)word_lower(key->name, words[at].word);
            words[at].key = key;
        }
        if (words[at].key == key) {
            return words[at].word;
        }
        at = (at + 1) % WORDS_MAX;
    }
    abort(); /* the protos have more values than WORDS_MAX */
}

bool cn_enum_value(const ProtobufCEnumDescriptor *descriptor,
                   const char *word,
                   int *ret_value)
{
    char name[WORD_MAX];
    size_t i = 0;
    for (; word[i] != '\0'; i++) {
        if (i == WORD_MAX - 1 || isupper((unsigned char)word[i])) {
            return false;
        }
        name[i] = (char)toupper((unsigned char)word[i]);
    }
    name[i] = '\0';
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value_by_name(descriptor, name);
    if (value == NULL) {
        return false;
    }
    *ret_value = value->value;
    return true;
}

/* The check digit of a National Provider Identifier is Luhn's over the number
 * with the prefix 80840 (45 CFR 162.406, ISO 7812). */
static bool is_npi(const char *text)
{
    char digits[16];
    if (strlen(text) != 10 || strspn(text, "0123456789") != 10) {
        return false;
    }
    (void)snprintf(digits, sizeof(digits), "80840%s", text);
    int sum = 0;
    for (int i = 0; i < 15; i++) {
        int digit = digits[14 - i] - '0';
        if (i % 2 == 1) {
            digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
        }
        sum += digit;
    }
    return sum % 10 == 0;
}

static bool is_phone(const char *text)
{
    size_t digits = 0;
    while (*text != '\0') {
        if (strncmp(text, "ext", 3) == 0) {
            text += 3;
            continue;
        }
        if (strchr("0123456789 +-().x", *text) == NULL) {
            return false;
        }
        digits += isdigit((unsigned char)*text) ? 1 : 0;
        text++;
    }
    return digits >= 7 && digits <= 20;
}

/* One side of an address: no dot at an end or beside another. */
static bool is_dotted(const char *at, size_t size, const char *others)
{
    if (size == 0 || at[0] == '.' || at[size - 1] == '.') {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        bool is_dot = at[i] == '.' && at[i + 1] != '.';
        bool is_plain = at[i] > 0 && isalnum((unsigned char)at[i]);
        if (!is_dot && !is_plain && strchr(others, at[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* Only the unquoted forms of RFC 5321: they can stand in a mail's header as
 * they are. */
static bool is_email(const char *text)
{
    const char *at = strchr(text, '@');
    if (at == NULL || at - text > 64 || strlen(text) > 254) {
        return false;
    }
    const char *domain = at + 1;
    size_t size = strlen(domain);
    return is_dotted(text, (size_t)(at - text), "!#$%&'*+-/=?^_`{|}~") &&
           is_dotted(domain, size, "-") && strchr(domain, '.') != NULL;
}

static bool is_postal_code(const char *text)
{
    size_t size = strlen(text);
    if (strspn(text, "0123456789") < 5) {
        return false;
    }
    return size == 5 || (size == 10 && text[5] == '-' &&
                         strspn(text + 6, "0123456789") == 4);
}

static const struct {
    const char *name;
    bool (*matches)(const char *text);
} PATTERNS[] = { { "npi", is_npi },
                 { "phone", is_phone },
                 { "email", is_email },
                 { "postal_code", is_postal_code } };

bool cn_json_pattern(const char *pattern, const char *text)
{
    for (size_t i = 0; i < CN_COUNT(PATTERNS); i++) {
        if (strcmp(PATTERNS[i].name, pattern) == 0) {
            return PATTERNS[i].matches(text);
        }
    }
    return false;
}

bool cn_json_is_clock(const char *text)
{
    return strlen(text) == 5 && text[2] == ':' && text[0] >= '0' &&
           text[0] <= (text[1] <= '3' ? '2' : '1') &&
           isdigit((unsigned char)text[1]) && text[3] >= '0' &&
           text[3] <= '5' && isdigit((unsigned char)text[4]);
}

static const char BASE64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Four characters, of which the last `pad` are the padding. */
static bool base64_group(const char *text, size_t pad, uint8_t bytes[3])
{
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int digit = i < 4 - pad ? base64_digit(text[i]) : 0;
        if (digit < 0) {
            return false;
        }
        bits = bits << 6 | (uint32_t)digit;
    }
    bytes[0] = (uint8_t)(bits >> 16);
    bytes[1] = (uint8_t)(bits >> 8);
    bytes[2] = (uint8_t)bits;
    /* Unused bits must be zero, so that the same bytes have one text. */
    return (pad < 1 || bytes[2] == 0) && (pad < 2 || bytes[1] == 0);
}

bool cn_base64_read(struct cn_arena *arena,
                    const char *text,
                    size_t size,
                    ProtobufCBinaryData *ret_bytes)
{
    if (size % 4 != 0) {
        return false;
    }
    size_t pad = 0;
    while (pad < 2 && pad < size && text[size - 1 - pad] == '=') {
        pad++;
    }
    uint8_t *data = cn_arena_try(arena, size / 4 * 3 + 1);
    for (size_t i = 0; data != NULL && i < size / 4; i++) {
        size_t here = i + 1 == size / 4 ? pad : 0;
        if (!base64_group(text + i * 4, here, data + i * 3)) {
            return false;
        }
    }
    *ret_bytes = (ProtobufCBinaryData){ size / 4 * 3 - pad, data };
    return true;
}

void cn_base64_write(const ProtobufCBinaryData *bytes, char *text)
{
    for (size_t i = 0; i < bytes->len; i += 3) {
        size_t left = bytes->len - i;
        uint32_t bits = (uint32_t)bytes->data[i] << 16;
        bits |= left > 1 ? (uint32_t)bytes->data[i + 1] << 8 : 0;
        bits |= left > 2 ? bytes->data[i + 2] : 0;
        *text++ = BASE64[bits >> 18];
        *text++ = BASE64[bits >> 12 & 63];
        text[0] = '=';
        text[1] = '=';
        if (left > 1) {
            text[0] = BASE64[bits >> 6 & 63];
        }
        if (left > 2) {
            text[1] = BASE64[bits & 63];
        }
        text += 2;
    }
}
