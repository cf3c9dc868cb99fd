/* SPDX-License-Identifier: Apache-2.0 */
/* Services under a name, with the real getaddrinfo. The program has an /etc of
 * its own, in a mount namespace, and changes the addresses in it. */
#include "common/base/array.h"
#include "common/bus/bus_internal.h"
#include "tests/lib/bus.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above. */
#include <cmocka.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the names --- */

static bool s_private;

static void s_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Replaces the file in one step, so that no reader sees half of it. */
static void s_hosts(const char *text)
{
    s_write("/etc/hosts.new", text);
    assert_int_equal(rename("/etc/hosts.new", "/etc/hosts"), 0);
}

/* From now on each look-up waits, until s_hosts_write. */
static void s_hosts_hang(void)
{
    (void)unlink("/etc/hosts");
    assert_int_equal(mkfifo("/etc/hosts", 0644), 0);
}

/* The look-ups that wait find nothing; the next ones find this list. Returns
 * when one look-up has waited. */
static void s_hosts_release(const char *text)
{
    int fd = -1;
    UNTIL((fd = open("/etc/hosts", O_WRONLY | O_NONBLOCK | O_CLOEXEC)) >= 0);
    s_hosts(text);
    (void)close(fd);
}

/* False when the machine does not allow a mount namespace. */
static bool s_enter(void)
{
    char folder[] = "/tmp/cairn-names-XXXXXX";
    if (unshare(CLONE_NEWNS) != 0 &&
        unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
        return false;
    }
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mkdtemp(folder) == NULL) {
        return false;
    }
    bool mounted = mount("none", folder, "tmpfs", 0, "size=1m,mode=755") == 0 &&
                   mount(folder, "/etc", NULL, MS_MOVE, NULL) == 0;
    (void)rmdir(folder);
    if (!mounted) {
        return false;
    }
    s_write("/etc/nsswitch.conf", "hosts: files\n");
    s_write("/etc/host.conf", "multi on\n");
    s_hosts("");
    return true;
}

static void s_run_named(void (*body)(struct test_net *world))
{
    if (!s_private) {
        skip();
    }
    s_hosts("");
    test_run(body);
}

/* --- the world --- */

static struct bus_service *s_service(const struct test_net *world)
{
    return world->client->services[0];
}

/* Addresses from 127.0.0.2 on, all with the port of the first. */
static void s_serve_at(struct test_net *world, unsigned which)
{
    static char port[8];
    if (which == 0) {
        char address[64];
        test_free_address(address);
        (void)snprintf(port, sizeof(port), "%.7s", strrchr(address, ':') + 1);
    }
    (void)snprintf(world->servers[which].address,
                   sizeof(world->servers[which].address), "tcp://127.0.0.%u:%s",
                   which + 2, port);
    test_serve(world, which, 0);
}

static void s_connect_named(struct test_net *world, const char *name)
{
    char endpoint[128];
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://%s:%s", name,
                   strrchr(world->servers[0].address, ':') + 1);
    test_connect(world, endpoint, NULL);
}

static struct bus_replica *s_replica(const struct test_net *world,
                                     unsigned which)
{
    for (size_t i = 0; i < s_service(world)->replica_count; i++) {
        struct bus_replica *replica = s_service(world)->replicas[i];
        if (strcmp(replica->address, world->servers[which].address) == 0) {
            return replica;
        }
    }
    return NULL;
}

static bool s_is_up(const struct test_net *world, unsigned which)
{
    const struct bus_replica *replica = s_replica(world, which);
    return replica != NULL && replica->up;
}

/* --- tests --- */

static void s_body_all(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n127.0.0.3 some.cairn\n");
    s_serve_at(world, 0);
    s_serve_at(world, 1);
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0) && s_is_up(world, 1));
    assert_int_equal(s_service(world)->replica_count, 2);
    for (unsigned i = 0; i < 10; i++) {
        test_must_answer(world);
    }
    assert_int_equal(world->servers[0].seen, 5);
    assert_int_equal(world->servers[1].seen, 5);
}

static void a_name_stands_for_all_its_addresses(void **state)
{
    (void)state;
    s_run_named(s_body_all);
}

static void s_body_first(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n");
    s_serve_at(world, 0);
    s_connect_named(world, "some.cairn");
    assert_int_equal(s_service(world)->replica_count, 0);
    test_must_answer(world);
}

static void a_call_waits_for_the_first_look_up(void **state)
{
    (void)state;
    s_run_named(s_body_first);
}

static void s_body_hangs(struct test_net *world)
{
    s_serve_at(world, 0);
    s_hosts_hang();
    s_connect_named(world, "some.cairn");
    struct test_errand *waits =
        test_start(world, test_read("echo", "waits", 4 * CN_SECOND));
    int64_t from = cn_clock_monotonic();
    for (unsigned turns = 0; turns < 20; turns++) {
        assert_int_equal(cn_fiber_sleep(1000), CN_OK);
    }
    if (cn_clock_monotonic() - from < CN_SECOND / 2) {
        assert_false(waits->done);
    }
    assert_true(world->client->resolver.asked);
    s_hosts_release("127.0.0.2 some.cairn\n");
    UNTIL(s_is_up(world, 0) && waits->done);
    test_errand_free(waits);
    test_must_answer(world);
}

static void a_look_up_that_hangs_holds_nobody_but_its_callers(void **state)
{
    (void)state;
    s_run_named(s_body_hangs);
}

static void s_body_end_in_look_up(struct test_net *world)
{
    s_serve_at(world, 0);
    s_hosts_hang();
    s_connect_named(world, "some.cairn");
    assert_true(world->client->resolver.asked);
    int64_t from = cn_clock_monotonic();
    cn_bus_free(world->client);
    world->client = NULL;
    assert_true(cn_clock_monotonic() - from < CN_SECOND);
    s_hosts_release("127.0.0.2 some.cairn\n");
}

static void the_end_does_not_wait_for_a_look_up(void **state)
{
    (void)state;
    s_run_named(s_body_end_in_look_up);
}

static void s_body_new(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n");
    s_serve_at(world, 0);
    s_serve_at(world, 1);
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0));
    test_must_answer(world);
    s_hosts("127.0.0.2 some.cairn\n127.0.0.3 some.cairn\n");
    int64_t from = cn_clock_monotonic();
    UNTIL(s_is_up(world, 1));
    assert_true(cn_clock_monotonic() - from < 6 * CN_SECOND);
    assert_int_equal(cn_bus_stats(world->client)->downs, 0);
}

static void a_new_address_is_found_without_any_cause(void **state)
{
    (void)state;
    s_run_named(s_body_new);
}

static void s_body_vanishes(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n127.0.0.3 some.cairn\n");
    s_serve_at(world, 0);
    s_serve_at(world, 1);
    world->servers[1].ill = true;
    world->servers[0].holds = true;
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0) && s_is_up(world, 1));
    struct cn_bus_call call = test_read("echo", "poll", 8 * CN_SECOND);
    struct test_errand *held = test_start(world, call);
    call.long_poll = true;
    struct test_errand *poll = test_start(world, call);
    UNTIL(world->servers[0].held_count == 2);
    s_hosts("127.0.0.3 some.cairn\n");
    bus_discover(s_service(world));
    UNTIL(s_replica(world, 0)->leave_by != 0);
    /* The healthy replica would be preferred if it were not leaving. */
    size_t before = world->servers[1].seen;
    test_must_answer(world);
    assert_int_equal(world->servers[1].seen, before + 1);
    assert_false(held->done);
    world->servers[0].holds = false;
    test_release(&world->servers[0]);
    UNTIL(held->done && poll->done);
    test_expect(held, CN_OK);
    test_expect(poll, CN_OK);
    UNTIL(s_replica(world, 0) == NULL);
    assert_int_equal(s_service(world)->replica_count, 1);
    assert_int_equal(cn_bus_stats(world->client)->downs, 0);
    test_errand_free(held);
    test_errand_free(poll);
    test_must_answer(world);
}

static void an_address_that_vanished_ends_its_calls_and_is_closed(void **state)
{
    (void)state;
    s_run_named(s_body_vanishes);
}

/* A long poll would keep the old replica until an event comes. */
static void s_body_poll_moves(struct test_net *world)
{
    struct cn_bus_call call = test_read("echo", "poll", 8 * CN_SECOND);
    s_hosts("127.0.0.2 some.cairn\n127.0.0.3 some.cairn\n");
    s_serve_at(world, 0);
    s_serve_at(world, 1);
    world->servers[1].ill = true;
    world->servers[0].holds = true;
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0) && s_is_up(world, 1));
    call.long_poll = true;
    struct test_errand *poll = test_start(world, call);
    UNTIL(world->servers[0].held_count == 1);
    s_hosts("127.0.0.3 some.cairn\n");
    bus_discover(s_service(world));
    UNTIL(poll->done);
    test_expect_text(poll, "poll");
    assert_int_equal(world->servers[1].seen, 1);
    assert_null(s_replica(world, 0));
    test_errand_free(poll);
}

static void a_long_poll_moves_from_an_address_that_vanished(void **state)
{
    (void)state;
    s_run_named(s_body_poll_moves);
}

static void s_body_comes_back(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n");
    s_serve_at(world, 0);
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0));
    world->servers[0].holds = true;
    struct test_errand *held =
        test_start(world, test_read("echo", "held", 8 * CN_SECOND));
    UNTIL(world->servers[0].held_count == 1);
    s_hosts("127.0.0.3 some.cairn\n");
    bus_discover(s_service(world));
    UNTIL(s_replica(world, 0)->leave_by != 0);
    s_hosts("127.0.0.2 some.cairn\n");
    bus_discover(s_service(world));
    UNTIL(s_replica(world, 0)->leave_by == 0);
    test_release(&world->servers[0]);
    UNTIL(held->done);
    test_expect_text(held, "held");
    test_errand_free(held);
    test_must_answer(world);
}

static void an_address_that_comes_back_while_it_leaves_stays(void **state)
{
    (void)state;
    s_run_named(s_body_comes_back);
}

static void s_body_forgotten(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n");
    s_serve_at(world, 0);
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0));
    s_hosts("");
    bus_discover(s_service(world));
    UNTIL(s_service(world)->endpoints[0].failed);
    assert_int_equal(s_service(world)->replica_count, 1);
    assert_int_equal(s_replica(world, 0)->leave_by, 0);
    test_must_answer(world);
    s_hosts("127.0.0.2 some.cairn\n");
    UNTIL(!s_service(world)->endpoints[0].failed);
    test_must_answer(world);
    assert_int_equal(cn_bus_stats(world->client)->downs, 0);
}

static void a_look_up_that_fails_changes_nothing(void **state)
{
    (void)state;
    s_run_named(s_body_forgotten);
}

/* Like a container that is replaced: the new one has another address. */
static void s_body_replaced(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n");
    s_serve_at(world, 0);
    s_serve_at(world, 1);
    world->servers[0].holds = true;
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0));
    /* Without a cause the caller would ask again only after seconds. */
    UNTIL(s_service(world)->endpoints[0].ask_at >
          cn_clock_monotonic() + 3 * CN_SECOND);
    struct test_errand *held =
        test_start(world, test_read("echo", "moves", 8 * CN_SECOND));
    UNTIL(world->servers[0].held_count == 1);
    s_hosts("127.0.0.3 some.cairn\n");
    test_kill(&world->servers[0]);
    int64_t from = cn_clock_monotonic();
    UNTIL(held->done);
    test_expect_text(held, "moves");
    assert_true(cn_clock_monotonic() - from < 2 * CN_SECOND);
    test_errand_free(held);
}

static void a_replica_that_goes_is_looked_up_at_once(void **state)
{
    (void)state;
    s_run_named(s_body_replaced);
}

static void s_body_same(struct test_net *world)
{
    s_hosts("127.0.0.2 some.cairn\n127.0.0.2 other.cairn\n");
    s_serve_at(world, 0);
    s_connect_named(world, "some.cairn");
    s_connect_named(world, "other.cairn");
    s_connect_named(world, "127.0.0.2");
    UNTIL(s_is_up(world, 0) && s_replica(world, 0)->named_by == 7);
    assert_int_equal(s_service(world)->replica_count, 1);
    s_hosts("127.0.0.9 some.cairn\n127.0.0.9 other.cairn\n");
    bus_discover(s_service(world));
    UNTIL(s_replica(world, 0)->named_by == 4);
    assert_int_equal(s_replica(world, 0)->leave_by, 0);
    test_must_answer(world);
}

static void an_address_is_one_replica_under_whatever_names(void **state)
{
    (void)state;
    s_run_named(s_body_same);
}

/* n addresses from 127.0.1.1 on, and the server's address last. */
static void s_hosts_many(unsigned count)
{
    static char text[8192];
    size_t size = 0;
    for (unsigned i = 1; i <= count; i++) {
        size += (size_t)snprintf(text + size, sizeof(text) - size,
                                 "127.0.1.%u some.cairn\n", i);
    }
    (void)snprintf(text + size, sizeof(text) - size, "127.0.0.2 some.cairn\n");
    s_hosts(text);
}

static void s_body_many(struct test_net *world)
{
    s_serve_at(world, 0);
    s_hosts_many(CN_BUS_ENDPOINTS_MAX - 1);
    s_connect_named(world, "some.cairn");
    UNTIL(s_is_up(world, 0));
    test_must_answer(world);
    /* There are more addresses than room: the known ones stay. */
    s_hosts_many(200);
    bus_discover(s_service(world));
    UNTIL(!world->client->resolver.asked &&
          s_service(world)->endpoints[0].asked_at + CN_SECOND / 2 >
              cn_clock_monotonic());
    assert_int_equal(s_service(world)->replica_count, CN_BUS_ENDPOINTS_MAX);
    assert_int_equal(s_replica(world, 0)->leave_by, 0);
    test_must_answer(world);
}

static void more_addresses_than_there_is_room_for_are_left_out(void **state)
{
    (void)state;
    s_run_named(s_body_many);
}

static void s_body_ipv6(struct test_net *world)
{
    char address[64];
    test_free_address(address);
    (void)snprintf(world->servers[0].address, sizeof(world->servers[0].address),
                   "tcp://[::1]:%s", strrchr(address, ':') + 1);
    test_serve(world, 0, 0);
    test_connect(world, world->servers[0].address, NULL);
    test_must_answer(world);
    assert_string_equal(cn_bus_address(world->servers[0].bus),
                        world->servers[0].address);
}

static void an_ipv6_address_is_served_and_called(void **state)
{
    (void)state;
    if (access("/proc/net/if_inet6", F_OK) != 0) {
        skip();
    }
    test_run(s_body_ipv6);
}

static void s_body_everywhere(struct test_net *world)
{
    char address[64];
    test_free_address(address);
    const char *port = strrchr(address, ':') + 1;
    (void)snprintf(world->servers[0].address, sizeof(world->servers[0].address),
                   "tcp://*:%s", port);
    test_serve(world, 0, 0);
    test_connect(world, address, NULL);
    test_must_answer(world);
}

static void a_service_bound_everywhere_is_called_by_ipv4(void **state)
{
    (void)state;
    test_run(s_body_everywhere);
}

static void s_body_spelling(struct test_net *world)
{
    static const char *const BAD[] = {
        "tcp://",           "tcp://:7001",          "tcp://host",
        "tcp://host:",      "tcp://host:0",         "tcp://host:65536",
        "tcp://host:70a",   "udp://host:7001",      "host:7001",
        "tcp://ho st:7001", "tcp://::1:7001",       "tcp://[::1:7001",
        "tcp://[x]:7001",   "tcp://a:1,,",          "tcp://a:1,,tcp://b:1",
        "tcp://a/b:7001",   "tcp://host:7001;more",
    };
    char endpoints[64];
    struct cn_err err = { 0 };
    world->client = test_bus(world, "gateway", &world->gateway, NULL, 0);
    for (size_t i = 0; i < CN_COUNT(BAD); i++) {
        (void)snprintf(endpoints, sizeof(endpoints), "%s", BAD[i]);
        if (cn_bus_connect(world->client, "referrals", endpoints, &err) !=
            CN_INVALID) {
            fail_msg("%s was taken", BAD[i]);
        }
        assert_int_equal(s_service(world)->endpoint_count, 0);
    }
}

static void what_is_no_endpoint_is_refused(void **state)
{
    (void)state;
    test_run(s_body_spelling);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_stands_for_all_its_addresses),
        cmocka_unit_test(a_call_waits_for_the_first_look_up),
        cmocka_unit_test(a_look_up_that_hangs_holds_nobody_but_its_callers),
        cmocka_unit_test(the_end_does_not_wait_for_a_look_up),
        cmocka_unit_test(a_new_address_is_found_without_any_cause),
        cmocka_unit_test(an_address_that_vanished_ends_its_calls_and_is_closed),
        cmocka_unit_test(a_long_poll_moves_from_an_address_that_vanished),
        cmocka_unit_test(an_address_that_comes_back_while_it_leaves_stays),
        cmocka_unit_test(a_look_up_that_fails_changes_nothing),
        cmocka_unit_test(a_replica_that_goes_is_looked_up_at_once),
        cmocka_unit_test(an_address_is_one_replica_under_whatever_names),
        cmocka_unit_test(more_addresses_than_there_is_room_for_are_left_out),
        cmocka_unit_test(an_ipv6_address_is_served_and_called),
        cmocka_unit_test(a_service_bound_everywhere_is_called_by_ipv4),
        cmocka_unit_test(what_is_no_endpoint_is_refused),
    };
    s_private = s_enter();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
