/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDv7 with a counter in rand_a (RFC 9562 6.2, method 1), and its texts. */
#include "common/base/id.h"

#include "common/base/env.h"

#include <string.h>

enum { COUNTER_MAX = 0xfff, COUNTER_SEED_MAX = 0x7ff };

struct cn_uuid cn_uuid_new(struct cn_env *env)
{
    uint8_t random[10];
    env->random(env, random, sizeof random);
    int64_t ms = env->now(env) / 1000;
    if (ms > env->id_ms) {
        env->id_ms = ms;
        /* Half of the counter's range stays for ids of the same instant. */
        env->id_counter =
            ((unsigned)random[8] << 8 | random[9]) & COUNTER_SEED_MAX;
    } else if (env->id_counter < COUNTER_MAX) {
        env->id_counter++;
    } else {
        env->id_ms++;
        env->id_counter = 0;
    }
    struct cn_uuid id = { { 0 } };
    for (int i = 0; i < 6; i++) {
        id.bytes[i] = (uint8_t)(env->id_ms >> (8 * (5 - i)));
    }
    id.bytes[6] = (uint8_t)(0x70 | env->id_counter >> 8);
    id.bytes[7] = (uint8_t)(env->id_counter & 0xff);
    memcpy(id.bytes + 8, random, 8);
    id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
    return id;
}

int64_t cn_uuid_made_at(struct cn_uuid id)
{
    int64_t ms = 0;
    if (id.bytes[6] >> 4 != 7) {
        return -1;
    }
    for (int i = 0; i < 6; i++) {
        ms = ms << 8 | id.bytes[i];
    }
    return ms * 1000;
}

bool cn_uuid_equal(struct cn_uuid a, struct cn_uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

bool cn_uuid_is_nil(struct cn_uuid id)
{
    return cn_uuid_equal(id, (struct cn_uuid){ { 0 } });
}

int cn_uuid_compare(struct cn_uuid a, struct cn_uuid b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes);
}

static bool s_dash_before(int byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void cn_uuid_format(struct cn_uuid id, char text[CN_UUID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        if (s_dash_before(i)) {
            *text++ = '-';
        }
        *text++ = digits[id.bytes[i] >> 4];
        *text++ = digits[id.bytes[i] & 0xf];
    }
    *text = '\0';
}

static int s_hex(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool cn_uuid_parse(const char *text, struct cn_uuid *ret_id)
{
    if (text == NULL ||
        strnlen(text, CN_UUID_TEXT_SIZE) != CN_UUID_TEXT_SIZE - 1) {
        return false;
    }
    struct cn_uuid id = { { 0 } };
    for (int i = 0; i < 16; i++) {
        if (s_dash_before(i) && *text++ != '-') {
            return false;
        }
        int high = s_hex(*text++);
        int low = s_hex(*text++);
        if (high < 0 || low < 0) {
            return false;
        }
        id.bytes[i] = (uint8_t)(high << 4 | low);
    }
    *ret_id = id;
    return true;
}

/* Base32: 26 digits of 5 bits, of which the first has only 3. */

static const char s_alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static uint64_t s_half(const uint8_t bytes[8])
{
    uint64_t half = 0;
    for (int i = 0; i < 8; i++) {
        half = half << 8 | bytes[i];
    }
    return half;
}

static void s_base32(struct cn_uuid id, char text[CN_ID_BASE32_SIZE])
{
    uint64_t high = s_half(id.bytes);
    uint64_t low = s_half(id.bytes + 8);
    for (int i = CN_ID_BASE32_SIZE - 1; i >= 0; i--) {
        text[i] = s_alphabet[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
}

void cn_id_format(const char *prefix,
                  struct cn_uuid id,
                  char text[CN_ID_TEXT_MAX])
{
    enum { PREFIX_MAX = CN_ID_TEXT_MAX - CN_ID_BASE32_SIZE - 2 };
    size_t size = strnlen(prefix, PREFIX_MAX);
    memcpy(text, prefix, size);
    text[size] = '_';
    s_base32(id, text + size + 1);
    text[size + 1 + CN_ID_BASE32_SIZE] = '\0';
}

char *cn_id_text(struct cn_arena *arena, const char *prefix, struct cn_uuid id)
{
    char text[CN_ID_TEXT_MAX];
    cn_id_format(prefix, id, text);
    return cn_arena_strdup(arena, text);
}

static int s_id_digit(char c)
{
    const char *found = c == '\0' ? NULL : strchr(s_alphabet, c);
    return found == NULL ? -1 : (int)(found - s_alphabet);
}

bool cn_id_parse(const char *prefix, const char *text, struct cn_uuid *ret_id)
{
    size_t size = strlen(prefix);
    if (text == NULL || strncmp(text, prefix, size) != 0 || text[size] != '_') {
        return false;
    }
    text += size + 1;
    struct cn_uuid id = { { 0 } };
    int first = s_id_digit(text[0]);
    if (first < 0 || first > 7) {
        return false;
    }
    for (int i = 0; i < CN_ID_BASE32_SIZE; i++) {
        int digit = s_id_digit(text[i]);
        if (digit < 0) {
            return false;
        }
        for (int j = 0; j < 5; j++) {
            int bit = 5 * i - 2 + j;
            if (bit >= 0 && (digit >> (4 - j) & 1) != 0) {
                id.bytes[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
            }
        }
    }
    if (text[CN_ID_BASE32_SIZE] != '\0') {
        return false;
    }
    *ret_id = id;
    return true;
}
