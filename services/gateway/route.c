/* SPDX-License-Identifier: Apache-2.0 */
/* The tree of routes: a node per segment. */
#include "services/gateway/route.h"

#include "services/gateway/uri.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct segment {
    const char *text;
    size_t size;
};

struct node {
    struct segment name;   /* of a literal */
    struct node *children; /* literals */
    struct node *sibling;
    struct node *param; /* the child that matches any segment */
    const struct cn_route *verbs[CN_DELETE + 1];
};

struct routes {
    struct node root;
};

static const char *const METHODS[CN_DELETE + 1] = { [CN_GET] = "GET",
                                                    [CN_POST] = "POST",
                                                    [CN_PUT] = "PUT",
                                                    [CN_PATCH] = "PATCH",
                                                    [CN_DELETE] = "DELETE" };

/* Splits at '/'. The number of segments, or -1: it does not begin with '/' or
 * has too many. */
static int s_split(const char *path, struct segment segments[])
{
    int count = 0;
    if (path[0] != '/') {
        return -1;
    }
    for (const char *at = path + 1;;) {
        const char *end = strchrnul(at, '/');
        if (count == ROUTE_SEGMENTS_MAX) {
            return -1;
        }
        segments[count].text = at;
        segments[count++].size = (size_t)(end - at);
        if (*end == '\0') {
            return count;
        }
        at = end + 1;
    }
}

static bool s_equal(struct segment a, struct segment b)
{
    return a.size == b.size && memcmp(a.text, b.text, a.size) == 0;
}

static bool s_is_param(struct segment segment)
{
    return segment.size > 2 && segment.text[0] == '{' &&
           segment.text[segment.size - 1] == '}';
}

/* The child of that name, made when it is missing. All parameters share one
 * child: two routes may name the parameter at one place differently. */
static struct node *s_child(struct node *node, struct segment segment)
{
    struct node **link = s_is_param(segment) ? &node->param : &node->children;
    while (*link != NULL && link != &node->param &&
           !s_equal((*link)->name, segment)) {
        link = &(*link)->sibling;
    }
    if (*link == NULL) {
        *link = calloc(1, sizeof(**link));
        if (*link != NULL) {
            (*link)->name = segment;
        }
    }
    return *link;
}

static bool s_route_add(struct routes *self, const struct cn_route *route)
{
    struct segment segments[ROUTE_SEGMENTS_MAX];
    int count = s_split(route->path, segments);
    struct node *node = &self->root;
    assert(count > 0);
    for (int i = 0; i < count; i++) {
        node = s_child(node, segments[i]);
        if (node == NULL) {
            return false;
        }
    }
    node->verbs[route->verb] = route;
    return true;
}

struct routes *routes_new(const struct cn_route *table, size_t count)
{
    struct routes *self = calloc(1, sizeof(*self));
    for (size_t i = 0; self != NULL && i < count; i++) {
        if (!s_route_add(self, &table[i])) {
            routes_free(self);
            return NULL;
        }
    }
    return self;
}

static void s_node_free(struct node *node)
{
    while (node != NULL) {
        struct node *sibling = node->sibling;
        s_node_free(node->children);
        s_node_free(node->param);
        free(node);
        node = sibling;
    }
}

void routes_free(struct routes *self)
{
    if (self != NULL) {
        s_node_free(self->root.children);
        s_node_free(self->root.param);
        free(self);
    }
}

struct search {
    struct cn_arena *arena;
    const struct segment *segments;
    int count;
    struct route_match *match;
};

static bool s_has_verb(const struct node *node)
{
    for (size_t i = 0; i <= CN_DELETE; i++) {
        if (node->verbs[i] != NULL) {
            return true;
        }
    }
    return false;
}

static bool
s_node_find(const struct search *search, const struct node *node, int at);

static bool
s_find_param(const struct search *search, const struct node *node, int at)
{
    struct route_match *match = search->match;
    struct segment segment = search->segments[at];
    size_t count = match->value_count;
    if (segment.size == 0 || count == ROUTE_PARAMS_MAX) {
        return false;
    }
    match->values[count] =
        uri_decode(search->arena, segment.text, segment.size);
    match->value_count = count + 1;
    if (match->values[count] != NULL && s_node_find(search, node, at + 1)) {
        return true;
    }
    match->value_count = count;
    return false;
}

static bool
s_node_find(const struct search *search, const struct node *node, int at)
{
    if (at == search->count) {
        if (!s_has_verb(node)) {
            return false;
        }
        memcpy(search->match->verbs, node->verbs, sizeof(node->verbs));
        return true;
    }
    for (const struct node *child = node->children; child != NULL;
         child = child->sibling) {
        if (s_equal(child->name, search->segments[at]) &&
            s_node_find(search, child, at + 1)) {
            return true;
        }
    }
    return node->param != NULL && s_find_param(search, node->param, at);
}

bool routes_match(const struct routes *self,
                  struct cn_arena *arena,
                  const char *path,
                  struct route_match *ret_match)
{
    struct segment segments[ROUTE_SEGMENTS_MAX];
    struct route_match match = { 0 };
    const struct search search = { arena, segments, s_split(path, segments),
                                   &match };
    if (search.count < 0 || !s_node_find(&search, &self->root, 0)) {
        return false;
    }
    *ret_match = match;
    return true;
}

const char *
route_param(const struct cn_route *route, struct cn_arena *arena, size_t index)
{
    const char *begin = strchr(route->path, '{');
    while (begin != NULL && index > 0) {
        begin = strchr(begin + 1, '{');
        index--;
    }
    assert(begin != NULL);
    return cn_arena_strndup(arena, begin + 1, strcspn(begin + 1, "}"));
}

void route_allow(const struct route_match *match, char text[ROUTE_ALLOW_MAX])
{
    size_t size = 0;
    for (size_t i = 0; i <= CN_DELETE; i++) {
        if (match->verbs[i] != NULL) {
            int put = snprintf(text + size, ROUTE_ALLOW_MAX - size, "%s%s, ",
                               METHODS[i], i == CN_GET ? ", HEAD" : "");
            size += (size_t)put;
        }
    }
    (void)snprintf(text + size, ROUTE_ALLOW_MAX - size, "OPTIONS");
}

const struct cn_route *route_of(const struct route_match *match,
                                const char *method)
{
    if (strcmp(method, "HEAD") == 0) {
        return match->verbs[CN_GET];
    }
    for (size_t i = 0; i <= CN_DELETE; i++) {
        if (strcmp(method, METHODS[i]) == 0) {
            return match->verbs[i];
        }
    }
    return NULL;
}
