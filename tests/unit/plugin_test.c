/* SPDX-License-Identifier: Apache-2.0 */
/* The plugin refuses what would break the generated code or the contract, and
 * says where. Every other test uses what it makes of the real protos. */
#include "cairn/routes.h"
#include "common/base/array.h"
#include "common/wire/shape.h"

#include "cairn/referrals.cairn.h"

#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- fixture: a folder with one proto of ours --- */

static char s_root[PATH_MAX]; /* of the checkout */
static char s_folder[64];

static void path_in(char path[PATH_MAX], const char *folder, const char *name)
{
    int size = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    assert_true(size > 0 && size < PATH_MAX);
}

static void put_file(const char *name, const char *text)
{
    char path[PATH_MAX];
    path_in(path, s_folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int folder_setup(void **state)
{
    char path[PATH_MAX];
    (void)state;
    if (getcwd(s_root, sizeof(s_root)) == NULL) {
        return -1;
    }
    memcpy(s_folder, "/tmp/cairn-plugin-XXXXXX", 25);
    if (mkdtemp(s_folder) == NULL) {
        return -1;
    }
    path_in(path, s_folder, "cairn");
    if (mkdir(path, 0700) != 0) {
        return -1;
    }
    path_in(path, s_folder, "out");
    return mkdir(path, 0700);
}

static void run(char *const argv[])
{
    pid_t pid;
    int status;
    assert_int_equal(posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static int folder_teardown(void **state)
{
    char rm[] = "rm";
    char flags[] = "-rf";
    char *const argv[] = { rm, flags, s_folder, NULL };
    (void)state;
    run(argv);
    return 0;
}

/* Runs protoc over cairn/<names>; its messages go to `output`. True: protoc
 * succeeded. */
static bool protoc(char *name, char *other, char *output, size_t size)
{
    char plugin[PATH_MAX + 64];
    char include[PATH_MAX + 64];
    char ours[128];
    char out[128];
    char errors[PATH_MAX];
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status;
    (void)snprintf(plugin, sizeof(plugin),
                   "--plugin=protoc-gen-cairn=%s/build/tool/protoc-gen-cairn",
                   s_root);
    (void)snprintf(include, sizeof(include), "--proto_path=%s/proto", s_root);
    (void)snprintf(ours, sizeof(ours), "--proto_path=%s", s_folder);
    (void)snprintf(out, sizeof(out), "--cairn_out=%s/out", s_folder);
    path_in(errors, s_folder, "errors");
    char tool[] = "protoc";
    char system[] = "--proto_path=/usr/include";
    char *const argv[] = { tool, ours, include, system, plugin,
                           out,  name, other,   NULL };
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors,
                                         O_WRONLY | O_CREAT | O_TRUNC, 0600),
        0);
    assert_int_equal(posix_spawnp(&pid, tool, &actions, NULL, argv, environ),
                     0);
    assert_int_equal(posix_spawn_file_actions_destroy(&actions), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    FILE *file = fopen(errors, "r");
    assert_non_null(file);
    size_t got = fread(output, 1, size - 1, file);
    output[got] = '\0';
    (void)fclose(file);
    return status == 0;
}

#define HEAD                                                                   \
    "syntax = \"proto2\";\n"                                                   \
    "package cairn.x.v1;\n"                                                    \
    "import \"protobuf-c/protobuf-c.proto\";\n"                                \
    "import \"cairn/http.proto\";\n"
#define OPTIONS                                                                \
    "option (pb_c_file).c_package = \"xx\";\n"                                 \
    "option (pb_c_file).const_strings = true;\n"
#define ASK                                                                    \
    "// Asks.\nmessage Ask { optional string id = 1; optional Sub sub = 2;\n"  \
    "  // Part.\n  message Sub { optional string word = 1; }\n"                \
    "  optional bytes data = 3; repeated string update_mask = 4; }\n"          \
    "// One.\nmessage One { optional string id = 1; }\n"
#define RPC(option)                                                            \
    HEAD OPTIONS ASK "// Serves.\nservice Xs {\n"                              \
                     "  // Gets.\n  rpc GetX(Ask) returns (One) { " option     \
                     " }\n}\n"
#define MESSAGE(body) HEAD OPTIONS "// M.\nmessage M {\n" body "\n}\n"

static void expect_refusal(const char *text, const char *fault)
{
    char name[] = "cairn/x.proto";
    char output[4096];
    put_file(name, text);
    if (protoc(name, NULL, output, sizeof(output)) ||
        strstr(output, fault) == NULL ||
        strstr(output, "cairn/x.proto") == NULL) {
        fail_msg("expected \"%s\", got: %s\n%s", fault, output, text);
    }
}

/* --- tests --- */

static void a_good_proto_is_taken(void **state)
{
    char name[] = "cairn/x.proto";
    char output[4096];
    (void)state;
    put_file(name, HEAD OPTIONS
             "// One.\nmessage One { optional string id = 1; }\n"
             "// Serves.\nservice Xs {\n"
             "  // Gets.\n"
             "  // @example {\"word\": [1, -2.5, true, null, {}]}\n"
             "  rpc GetX(One) returns (One) {\n"
             "    option (http) = {get: \"/v1/x/{id}\" scope: \"\"}; }\n"
             "  // Inside.\n  rpc Wake(One) returns (One);\n"
             "}\n");
    if (!protoc(name, NULL, output, sizeof(output))) {
        fail_msg("%s", output);
    }
}

static void each_bad_route_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *fault;
    } rows[] = {
        { RPC("option (http) = {get: \"/v1/x\"};"),
          "Xs.GetX: the http option must set scope" },
        { RPC("option (http) = {scope: \"\"};"), "needs one of get, post" },
        { RPC("option (http) = {get: \"/a\" post: \"/b\" scope: \"\"};"),
          "needs one of get, post" },
        { RPC("option (http) = {post: \"/v1/x/{nope}\" body: \"*\""
              " scope: \"\"};"),
          "{nope} is no field of Ask" },
        { RPC("option (http) = {post: \"/v1/x/{sub}\" body: \"*\""
              " scope: \"\"};"),
          "{sub} must be one plain value" },
        { RPC("option (http) = {post: \"/v1/x/{id\" body: \"*\" scope: \"\"};"),
          "braces do not match" },
        { RPC("option (http) = {post: \"v1/x\" body: \"*\" scope: \"\"};"),
          "must begin with /" },
        { RPC("option (http) = {post: \"/v1/x\" body: \"nope\" scope: \"\"};"),
          "the body nope is no message field" },
        { RPC("option (http) = {post: \"/v1/x\" body: \"id\" scope: \"\"};"),
          "the body id is no message field" },
        { RPC("option (http) = {get: \"/v1/x\" body: \"*\" scope: \"\"};"),
          "a GET has no body" },
        { RPC("option (http) = {get: \"/v1/x\" scope: \"\"};"),
          "sub cannot come from the query" },
        { RPC("option (http) = {post: \"/v1/x\" body: \"*\" scope: \"\""
              " success: 302};"),
          "success must be" },
        { RPC("option (http) = {post: \"/v1/x\" body: \"*\" scope: \"\""
              " consumes: \"text/plain\"};"),
          "consumes needs a field `bytes content`" },
        { RPC("option (http) = {post: \"/v1/x\" body: \"*\" scope: \"\""
              " produces: \"text/plain\"};"),
          "produces needs a field `bytes content` in One" },
        { HEAD OPTIONS "// One.\nmessage One { optional string id = 1; }\n"
                       "// S.\nservice Xs {\n"
                       " // U.\n rpc UpdateX(One) returns (One) { option "
                       "(http) = {patch: \"/x\" body: \"*\" scope: \"\"}; }}",
          "a PATCH needs a body and a `repeated string update_mask`" },
        { HEAD OPTIONS
          "// One.\nmessage One { optional string id = 1; }\n"
          "// S.\nservice Xs {\n"
          " // A.\n rpc GetX(One) returns (One) { option (http) = "
          "{get: \"/x/{id}\" scope: \"\"}; }\n"
          " // B.\n rpc FindX(One) returns (One) { option (http) = "
          "{get: \"/x/{id}\" scope: \"\"}; }}",
          "Xs.FindX: its route is taken by Xs.GetX" },
        { HEAD OPTIONS
          "// One.\nmessage One { optional string id = 1;"
          " optional string other = 2; }\n"
          "// S.\nservice Xs {\n"
          " // A.\n rpc GetX(One) returns (One) { option (http) = "
          "{get: \"/x/{id}\" scope: \"\"}; }\n"
          " // B.\n rpc RemoveX(One) returns (One) { option (http) = "
          "{delete: \"/x/{other}\" scope: \"\"}; }}",
          "names the fields of its path otherwise" },
        { HEAD OPTIONS "// One.\nmessage One { optional string id = 1; }\n"
                       "// S.\nservice Xs {\n"
                       " rpc GetX(One) returns (One);\n}\n",
          "Xs.GetX: an rpc needs a comment" },
        { HEAD OPTIONS "// One.\nmessage One { optional string id = 1; }\n"
                       "// S.\nservice Xs {\n"
                       " // I.\n rpc Init(One) returns (One);\n}\n",
          "an rpc named Init" },
        { HEAD OPTIONS "// One.\nmessage One { optional string id = 1; }\n"
                       "// S.\nservice Xs {\n"
                       " // I.\n rpc GetX(One) returns (stream One);\n}\n",
          "streams are not taken" },
        { HEAD OPTIONS "// One.\nmessage One { optional string id = 1; }\n"
                       "// S.\nservice Xs {\n"
                       " // I.\n // @example {\"a\": }\n"
                       " rpc GetX(One) returns (One);\n}\n",
          "its @example is not JSON" },
        { HEAD OPTIONS "// One.\nmessage One { optional string id = 1; }\n"
                       "// S.\nservice Xs {\n"
                       " // I.\n rpc GetHTTP(One) returns (One);\n}\n",
          "without runs of capitals" },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        expect_refusal(rows[i].text, rows[i].fault);
    }
}

static void each_bad_message_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *fault;
    } rows[] = {
        { HEAD OPTIONS "message M { optional string id = 1; }\n",
          "M: a message needs a comment" },
        { MESSAGE("message N { optional string id = 1; }"),
          "M.N: a message needs a comment" },
        { MESSAGE("required string id = 1;"), "M.id: required" },
        { MESSAGE("optional string id = 1 [default = \"x\"];"),
          "M.id: a default" },
        { MESSAGE("map<string, string> tags = 1;"), "map<> is not taken" },
        { MESSAGE("oneof which { string a = 1; string b = 2; }"),
          "oneof is not taken" },
        { MESSAGE("optional M again = 1;"), "must not contain itself" },
        { HEAD OPTIONS "// A.\nmessage A { repeated B b = 1; }\n"
                       "// B.\nmessage B { optional A a = 1; }\n",
          "must not contain itself" },
        { MESSAGE("optional string base = 1;"), "M.base: the name is taken" },
        { MESSAGE("optional int32 int = 1;"), "M.int: the name is taken" },
        { MESSAGE("optional int32 errno = 1;"), "M.errno: the name is taken" },
        { MESSAGE("optional int32 x = 1; optional int32 has_x = 2;"),
          "M.x: has_x beside it" },
        { MESSAGE("repeated int32 x = 1; optional int32 n_x = 2;"),
          "M.x: n_x beside it" },
        { MESSAGE("optional int32 camelCase = 1;"), "must be lower_snake" },
        { HEAD OPTIONS "// M.\nmessage HTTPRule { optional string a = 1; }\n",
          "without runs of capitals" },
        { MESSAGE("optional int64 a = 1 [(rule) = {kind: \"moment\"}];"),
          "M.a: unknown kind moment" },
        { MESSAGE("optional string a = 1 [(rule) = {kind: \"time\"}];"),
          "M.a: a time must be an int64" },
        { MESSAGE("optional int64 a = 1 [(rule) = {kind: \"date\"}];"),
          "M.a: a date must be a string" },
        { MESSAGE("optional string a = 1 [(rule) = {pattern: \"ssn\"}];"),
          "M.a: unknown pattern ssn" },
        { MESSAGE("optional int64 a = 1 [(rule) = {pattern: \"npi\"}];"),
          "M.a: a pattern needs a string" },
        { MESSAGE("optional string a = 1 [(rule) = {words: \"M.E\"}];"),
          "M.a: its words are no enum M.E" },
        { MESSAGE("optional int64 a = 1 [(rule) = {max: 3}];"),
          "M.a: a max needs" },
        { MESSAGE("enum E { Open = 1; } optional E e = 1;"),
          "E.Open: an enum's value must be UPPER_SNAKE" },
        { MESSAGE("enum E { NONE = 0; } optional E e = 1;"),
          "E.NONE: an enum's value must be greater than zero" },
        { HEAD OPTIONS "enum E { A = 1; }\n", "E: an enum belongs inside" },
        { MESSAGE("option (event) = {scope: \"x:read\"};"),
          "M: an event needs a type" },
        { MESSAGE("option (event) = {type: \"moved\"};"), "must be two words" },
        { MESSAGE("option (event) = {type: [\"x.moved\", \"x.moved\"]};"),
          "the event type x.moved is taken" },
        { MESSAGE("option (event) = {type: \"x.moved\" scope: \"x:read\"};"),
          "M: the policy has no permission x:read" },
        { MESSAGE("option (event) = {type: \"x.moved\" scope: "
                  "\"visits:read\"};"),
          "M: readers with visits:read reach a branch" },
        { MESSAGE("// S.\nmessage S { repeated string branch_id = 1; }\n"
                  "optional S s = 1;\n"
                  "option (event) = {type: \"x.moved\" scope: "
                  "\"visits:read\"};"),
          "M: readers with visits:read reach a branch" },
        { HEAD "option (pb_c_file).const_strings = true;\n",
          "(pb_c_file).c_package" },
        { HEAD "option (pb_c_file).c_package = \"xx\";\n",
          "const_strings must be true" },
        { "syntax = \"proto3\";\npackage cairn.x.v1;\n", "must be proto2" },
        { "syntax = \"proto2\";\npackage cairn.y.v1;\n",
          "package: must be cairn.x.v1" },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        expect_refusal(rows[i].text, rows[i].fault);
    }
}

#define SHOWN(comment, body)                                                   \
    HEAD OPTIONS "// Ask.\nmessage Ask { optional string id = 1; }\n"          \
                 "// One.\nmessage One { optional string id = 1;\n" body       \
                 "\n}\n// S.\nservice Xs {\n // G.\n"                          \
                 " rpc GetX(Ask) returns (One) { option (http) = "             \
                 "{get: \"/v1/x/{id}\" scope: \"\"}; }}\n" comment

static void what_clients_see_says_what_it_is(void **state)
{
    static const struct {
        const char *text;
        const char *fault;
    } rows[] = {
        { SHOWN("", "optional int64 word = 2;"),
          "One.word: what clients see needs a comment" },
        { SHOWN("", "// W.\noptional string word = 2;"),
          "One.word: what clients see needs an example" },
        { SHOWN("", "// P.\nmessage Part { optional bool word = 1; }\n"
                    "// Part.\noptional Part part = 2;"),
          "One.Part.word: what clients see needs a comment" },
        { SHOWN("// M.\nmessage M { option (event) = {type: \"x.moved\" scope: "
                "\"admin:write\"}; optional One one = 1; }\n",
                ""),
          "M: its comment needs a line \"@event x.moved ...\"" },
    };
    (void)state;
    for (size_t i = 0; i < CN_COUNT(rows); i++) {
        expect_refusal(rows[i].text, rows[i].fault);
    }
}

static void two_files_share_no_c_package(void **state)
{
    char x[] = "cairn/x.proto";
    char y[] = "cairn/y.proto";
    char output[4096];
    (void)state;
    put_file(x, HEAD OPTIONS);
    put_file(y, "syntax = \"proto2\";\npackage cairn.y.v1;\n"
                "import \"protobuf-c/protobuf-c.proto\";\n" OPTIONS);
    assert_false(protoc(x, y, output, sizeof(output)));
    assert_non_null(strstr(output, "c_package: xx is taken by"));
}

/* --- what it made of our protos --- */

static void shapes_follow_the_descriptors(void **state)
{
    const ProtobufCMessageDescriptor *descriptor = &ref__referral__descriptor;
    (void)state;
    assert_ptr_equal(ref__referral__shape.descriptor, descriptor);
    assert_int_equal(ref__referral__shape.update_mask, -1);
    for (unsigned i = 0; i < descriptor->n_fields; i++) {
        const struct cn_field_shape *field = &ref__referral__shape.fields[i];
        bool is_message = descriptor->fields[i].type == PROTOBUF_C_TYPE_MESSAGE;
        assert_int_equal(field->sub != NULL, is_message);
        if (is_message) {
            assert_ptr_equal(field->sub->descriptor,
                             descriptor->fields[i].descriptor);
        }
        if (strcmp(descriptor->fields[i].name, "soc_due_at") == 0) {
            assert_int_equal(field->kind, CN_FIELD_TIME);
            assert_true(field->output_only);
        }
    }
    int mask = ref__update_referral_request__shape.update_mask;
    assert_string_equal(
        ref__update_referral_request__descriptor.fields[mask].name,
        "update_mask");
}

static const struct cn_route *route_of(const char *method)
{
    for (size_t i = 0; i < cn_route_count; i++) {
        if (strcmp(cn_routes[i].method, method) == 0) {
            return &cn_routes[i];
        }
    }
    return NULL;
}

static void a_route_carries_its_rule(void **state)
{
    const struct cn_route *route =
        route_of("referrals.v1.Referrals/AcceptReferral");
    (void)state;
    assert_non_null(route);
    assert_int_equal(route->verb, CN_POST);
    assert_string_equal(route->path, "/v1/referrals/{id}/accept");
    assert_string_equal(route->service, "referrals");
    assert_string_equal(route->scope, "referrals:decide");
    assert_string_equal(route->body, "*");
    assert_ptr_equal(route->input, &ref__accept_referral_request__shape);
    assert_ptr_equal(route->output, &ref__referral__shape);
    assert_null(route_of("events.v1.Events/Fetch"));
    route = route_of("referrals.v1.Referrals/CreateReferral");
    assert_int_equal(route->success, 201);
    assert_true(route->key_required);
}

static void an_event_names_its_type_and_payload(void **state)
{
    bool is_found = false;
    (void)state;
    for (size_t i = 0; i < referrals_event_count; i++) {
        if (strcmp(referrals_events[i].type, "referral.accepted") == 0) {
            is_found = true;
            assert_string_equal(referrals_events[i].scope, "referrals:read");
            assert_ptr_equal(referrals_events[i].payload,
                             &ref__referral_event__shape);
        }
    }
    assert_true(is_found);
}

static void openapi_names_every_route(void **state)
{
    static const char *const verbs[] = { "get", "post", "put", "patch",
                                         "delete" };
    json_t *document = json_loadb(cn_openapi_json, cn_openapi_json_size,
                                  JSON_REJECT_DUPLICATES, NULL);
    (void)state;
    assert_non_null(document);
    assert_string_equal(json_string_value(json_object_get(document, "openapi")),
                        "3.1.0");
    json_t *paths = json_object_get(document, "paths");
    for (size_t i = 0; i < cn_route_count; i++) {
        json_t *path = json_object_get(paths, cn_routes[i].path);
        json_t *operation = json_object_get(path, verbs[cn_routes[i].verb]);
        const char *id =
            json_string_value(json_object_get(operation, "operationId"));
        if (id == NULL ||
            strcmp(id, strchr(cn_routes[i].method, '/') + 1) != 0) {
            fail_msg("not in openapi.json: %s", cn_routes[i].method);
        }
        assert_non_null(
            json_object_get(json_object_get(operation, "responses"), "401"));
    }
    json_decref(document);
}

static void check_references(json_t *document, json_t *part)
{
    const char *key;
    json_t *value;
    size_t index;
    json_object_foreach(part, key, value)
    {
        if (strcmp(key, "$ref") != 0) {
            check_references(document, value);
            continue;
        }
        static const char prefix[] = "#/components/";
        const char *path = json_string_value(value);
        char kind[64] = "";
        assert_int_equal(strncmp(path, prefix, strlen(prefix)), 0);
        path += strlen(prefix);
        size_t size = strcspn(path, "/");
        assert_true(size < sizeof(kind) && path[size] == '/');
        memcpy(kind, path, size);
        json_t *kinds =
            json_object_get(json_object_get(document, "components"), kind);
        if (json_object_get(kinds, path + size + 1) == NULL) {
            fail_msg("openapi.json has no %s", json_string_value(value));
        }
    }
    json_array_foreach(part, index, value)
    {
        check_references(document, value);
    }
}

static void every_reference_in_openapi_leads_somewhere(void **state)
{
    json_t *document =
        json_loadb(cn_openapi_json, cn_openapi_json_size, 0, NULL);
    (void)state;
    assert_non_null(document);
    check_references(document, document);
    json_decref(document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_proto_is_taken),
        cmocka_unit_test(each_bad_route_is_refused),
        cmocka_unit_test(each_bad_message_is_refused),
        cmocka_unit_test(what_clients_see_says_what_it_is),
        cmocka_unit_test(two_files_share_no_c_package),
        cmocka_unit_test(shapes_follow_the_descriptors),
        cmocka_unit_test(a_route_carries_its_rule),
        cmocka_unit_test(an_event_names_its_type_and_payload),
        cmocka_unit_test(openapi_names_every_route),
        cmocka_unit_test(every_reference_in_openapi_leads_somewhere),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}
