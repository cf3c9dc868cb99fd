/* SPDX-License-Identifier: Apache-2.0 */
/* cairn-supervisor: starts the processes of one Cairn in order, restarts what
 * dies, stops all in reverse order.
 *
 * cairn-supervisor <table> <home>
 *
 * The table is text, one block per process, in the order of the start:
 *   process <name>
 *   command <program>
 *   argument <text>           any number, the whole rest of the line is one
 *   environment <file>        NAME=value lines; nothing else is handed down
 *   user <name>               runs as this user
 *   stop <INT|TERM>           how to ask it to end; TERM when absent
 *   once                      must end with 0 before the next one starts
 * Output goes to <home>/log/<name>.log, the pid to <home>/run/<name>.pid. */
#include "common/base/clock.h"
#include "common/base/log.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PROCESSES_MAX = 48, /* four of each */
    ARGUMENTS_MAX = 64,
    ENVIRONMENT_MAX = 64,
    LINE_MAX_SIZE = 8192
};
static const int64_t DELAY_MIN = 50 * CN_SECOND / 1000;
static const int64_t DELAY_MAX = 2 * CN_SECOND;
/* Resets the delay: what has lived so long and was killed is back at once. */
static const int64_t LIFE_GOOD = 2 * CN_SECOND;
/* Then SIGKILL; what drains gives itself 20 s. */
static const int64_t STOP_TIME = 25 * CN_SECOND;

struct process {
    char *name;
    char *user; /* NULL: as the supervisor */
    char *environment_file;
    char *argv[ARGUMENTS_MAX + 1];
    size_t argument_count;
    int stop_signal;
    bool once;
    bool done; /* a `once` that ended with 0 */
    pid_t pid; /* 0: not running */
    int64_t started_at;
    int64_t restart_at; /* 0: none is due */
    int64_t delay;
};

struct supervisor {
    struct process table[PROCESSES_MAX];
    size_t count;
    size_t allowed; /* processes before this index may run */
    const char *home;
    int signals; /* signalfd */
    bool stopping;
    bool failed;
    size_t stop_index; /* this one is being asked to end */
    bool stop_asked;
    int64_t kill_at;
};

static char *s_copy(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        /* Only before the first process runs: nothing to leave behind. */
        abort();
    }
    return copy;
}

static int s_signal_number(const char *word)
{
    if (strcmp(word, "INT") == 0) {
        return SIGINT;
    }
    return strcmp(word, "TERM") == 0 ? SIGTERM : 0;
}

/* Is it the command, or an argument after one? */
static bool s_is_argument(const struct process *process, const char *word)
{
    return strcmp(word,
                  process->argument_count == 0 ? "command" : "argument") == 0 &&
           process->argument_count < ARGUMENTS_MAX;
}

/* Takes one line of a block. False when it has no meaning. */
static bool s_parse_word(struct process *process, const char *word, char *rest)
{
    if (s_is_argument(process, word)) {
        process->argv[process->argument_count++] = s_copy(rest);
    } else if (strcmp(word, "environment") == 0) {
        process->environment_file = s_copy(rest);
    } else if (strcmp(word, "user") == 0) {
        process->user = s_copy(rest);
    } else if (strcmp(word, "stop") == 0) {
        process->stop_signal = s_signal_number(rest);
        return process->stop_signal != 0;
    } else if (strcmp(word, "once") == 0) {
        process->once = true;
    } else {
        return false;
    }
    return true;
}

static bool s_parse_line(struct supervisor *self, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '\0' || line[0] == '#') {
        return true;
    }
    char *rest = strchr(line, ' ');
    if (rest != NULL) {
        *rest++ = '\0';
    } else {
        rest = line + strlen(line);
    }
    if (strcmp(line, "process") == 0) {
        if (self->count == PROCESSES_MAX || rest[0] == '\0') {
            return false;
        }
        struct process *process = &self->table[self->count++];
        process->name = s_copy(rest);
        process->stop_signal = SIGTERM;
        process->delay = DELAY_MIN;
        return true;
    }
    return self->count > 0 &&
           s_parse_word(&self->table[self->count - 1], line, rest);
}

static bool s_read_table(struct supervisor *self, const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        (void)fprintf(stderr, "cairn-supervisor: %s does not open\n", path);
        return false;
    }
    char line[LINE_MAX_SIZE];
    unsigned line_number = 0;
    bool good = true;
    while (good && fgets(line, sizeof line, file) != NULL) {
        line_number++;
        good = s_parse_line(self, line);
    }
    (void)fclose(file);
    for (size_t i = 0; good && i < self->count; i++) {
        good = self->table[i].argument_count > 0;
    }
    if (!good || self->count == 0) {
        (void)fprintf(stderr,
                      "cairn-supervisor: %s is not a process table "
                      "(line %u)\n",
                      path, line_number);
        return false;
    }
    return true;
}

/* The rest runs in the child, between fork and exec. */

static bool s_child_environment(const char *path)
{
    if (clearenv() != 0 || setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1) ||
        setenv("LANG", "C.UTF-8", 1) || setenv("TZ", "UTC", 1)) {
        return false;
    }
    if (path == NULL) {
        return true;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    char line[LINE_MAX_SIZE];
    unsigned count = 0;
    bool good = true;
    while (good && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *value = strchr(line, '=');
        if (value == NULL) {
            continue;
        }
        *value++ = '\0';
        good = ++count <= ENVIRONMENT_MAX && setenv(line, value, 1) == 0;
    }
    (void)fclose(file);
    return good;
}

static bool s_child_output(const char *home, const char *name)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/log/%s.log", home, name);
    int log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null_fd = open("/dev/null", O_RDONLY);
    return log_fd >= 0 && null_fd >= 0 && dup2(null_fd, STDIN_FILENO) >= 0 &&
           dup2(log_fd, STDOUT_FILENO) >= 0 &&
           dup2(log_fd, STDERR_FILENO) >= 0 &&
           close_range(STDERR_FILENO + 1, UINT_MAX, 0) == 0;
}

static bool s_child_user(const char *name)
{
    if (name == NULL) {
        return true;
    }
    const struct passwd *entry = getpwnam(name);
    return entry != NULL && initgroups(name, entry->pw_gid) == 0 &&
           setgid(entry->pw_gid) == 0 && setuid(entry->pw_uid) == 0;
}

static void s_child_run(const struct supervisor *self,
                        const struct process *process,
                        pid_t parent)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)setsid();
    /* Memory holds keys and patients: no core files. */
    const struct rlimit no_core = { 0, 0 };
    if (setrlimit(RLIMIT_CORE, &no_core) != 0 ||
        !s_child_environment(process->environment_file) ||
        !s_child_output(self->home, process->name) ||
        !s_child_user(process->user) || chdir("/") != 0) {
        _exit(126);
    }
    /* After the change of user, which clears it. Whatever ends the
     * supervisor ends all: SIGINT lets PostgreSQL shut down well. */
    (void)prctl(PR_SET_PDEATHSIG,
                process->stop_signal == SIGINT ? SIGINT : SIGKILL);
    if (getppid() != parent) {
        _exit(125);
    }
    (void)execv(process->argv[0], process->argv);
    (void)fprintf(stderr, "%s does not start\n", process->argv[0]);
    _exit(127);
}

static void s_write_pid(const struct supervisor *self,
                        const struct process *process)
{
    char path[PATH_MAX];
    char draft[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/run/%s.pid", self->home,
                   process->name);
    if (process->pid == 0) {
        (void)unlink(path);
        return;
    }
    (void)snprintf(draft, sizeof draft, "%s/run/.%s.pid", self->home,
                   process->name);
    FILE *file = fopen(draft, "we");
    if (file == NULL) {
        cn_log(CN_LOG_ERROR, "%s: no pid file", process->name);
        return;
    }
    bool good = fprintf(file, "%ld\n", (long)process->pid) > 0;
    good = fclose(file) == 0 && good;
    /* A reader finds a whole file or none. */
    if (!good || rename(draft, path) != 0) {
        cn_log(CN_LOG_ERROR, "%s: no pid file", process->name);
    }
}

static void s_plan_restart(struct process *process, int64_t now)
{
    process->restart_at = now + process->delay;
    process->delay *= 2;
    if (process->delay > DELAY_MAX) {
        process->delay = DELAY_MAX;
    }
}

static void s_start(struct supervisor *self, struct process *process)
{
    int64_t now = cn_clock_monotonic();
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        s_child_run(self, process, parent);
    }
    process->restart_at = 0;
    process->started_at = now;
    if (pid < 0) {
        cn_log(CN_LOG_ERROR, "%s: fork failed", process->name);
        s_plan_restart(process, now);
        return;
    }
    process->pid = pid;
    s_write_pid(self, process);
    cn_log(CN_LOG_INFO, "%s: started, pid %ld", process->name, (long)pid);
}

/* Must this one end well before another starts? */
static bool s_holds_up(const struct process *process)
{
    return process->once && !process->done;
}

/* Starts in order up to the next `once` that has not ended yet. */
static void s_advance(struct supervisor *self)
{
    while (!self->stopping && self->allowed < self->count) {
        if (self->allowed > 0 && s_holds_up(&self->table[self->allowed - 1])) {
            return;
        }
        s_start(self, &self->table[self->allowed++]);
    }
}

static void s_begin_stop(struct supervisor *self)
{
    if (self->stopping) {
        /* Asked again: do not wait for the one that lingers. */
        self->kill_at = cn_clock_monotonic();
        return;
    }
    self->stopping = true;
    self->stop_index = self->allowed;
    cn_log(CN_LOG_INFO, "stopping");
}

static void s_ended(struct supervisor *self, struct process *process, int how)
{
    int64_t now = cn_clock_monotonic();
    bool good = WIFEXITED(how) && WEXITSTATUS(how) == 0;
    if (WIFSIGNALED(how)) {
        cn_log(CN_LOG_WARN, "%s: pid %ld ended by signal %d", process->name,
               (long)process->pid, WTERMSIG(how));
    } else {
        cn_log(good ? CN_LOG_INFO : CN_LOG_WARN, "%s: pid %ld ended with %d",
               process->name, (long)process->pid, WEXITSTATUS(how));
    }
    process->pid = 0;
    s_write_pid(self, process);
    if (self->stopping) {
        return;
    }
    if (process->once) {
        process->done = good;
        if (!good) {
            cn_log(CN_LOG_ERROR, "%s failed: nothing more is started",
                   process->name);
            self->failed = true;
            s_begin_stop(self);
        }
        return;
    }
    if (now - process->started_at >= LIFE_GOOD) {
        process->delay = DELAY_MIN;
    }
    s_plan_restart(process, now);
}

static struct process *s_find(struct supervisor *self, pid_t pid)
{
    for (size_t i = 0; i < self->count; i++) {
        if (self->table[i].pid == pid) {
            return &self->table[i];
        }
    }
    return NULL;
}

static void s_reap(struct supervisor *self)
{
    int how = 0;
    pid_t pid = 0;
    while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
        struct process *process = s_find(self, pid);
        if (process != NULL) {
            s_ended(self, process, how);
        }
    }
}

/* Asks one after the other to end, the last started first. */
static bool s_stopped(struct supervisor *self)
{
    int64_t now = cn_clock_monotonic();
    while (self->stop_index > 0) {
        struct process *process = &self->table[self->stop_index - 1];
        if (process->pid == 0) {
            self->stop_index--;
            self->stop_asked = false;
            continue;
        }
        if (!self->stop_asked) {
            self->stop_asked = true;
            self->kill_at = now + STOP_TIME;
            (void)kill(process->pid, process->stop_signal);
        } else if (now >= self->kill_at) {
            cn_log(CN_LOG_WARN, "%s: killed, it did not end", process->name);
            self->kill_at = now + STOP_TIME;
            (void)kill(-process->pid, SIGKILL);
        }
        return false;
    }
    return true;
}

/* Restarts what is due; returns when to look again, 0 for never. */
static int64_t s_restart_due(struct supervisor *self)
{
    int64_t now = cn_clock_monotonic();
    int64_t next_at = 0;
    for (size_t i = 0; !self->stopping && i < self->allowed; i++) {
        struct process *process = &self->table[i];
        if (process->restart_at != 0 && process->restart_at <= now) {
            s_start(self, process);
        }
        if (process->restart_at != 0 &&
            (next_at == 0 || process->restart_at < next_at)) {
            next_at = process->restart_at;
        }
    }
    return next_at;
}

static void s_wait(struct supervisor *self, int64_t until)
{
    int timeout_ms = -1;
    if (until != 0) {
        int64_t left = until - cn_clock_monotonic();
        timeout_ms = left <= 0 ? 0 : (int)(left / 1000) + 1;
    }
    struct pollfd fd = { .fd = self->signals, .events = POLLIN };
    if (poll(&fd, 1, timeout_ms) <= 0) {
        return;
    }
    struct signalfd_siginfo info;
    while (read(self->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo != SIGCHLD) {
            s_begin_stop(self);
        }
    }
}

static int s_run(struct supervisor *self)
{
    for (;;) {
        /* Not only on SIGCHLD: signals of one kind are merged into one. */
        s_reap(self);
        s_advance(self);
        int64_t until = s_restart_due(self);
        if (self->stopping && s_stopped(self)) {
            break;
        }
        s_wait(self, self->stopping ? self->kill_at : until);
    }
    cn_log(CN_LOG_INFO, "stopped");
    return self->failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    static struct supervisor self;
    if (argc != 3) {
        (void)fprintf(stderr, "usage: cairn-supervisor <table> <home>\n");
        return 2;
    }
    self.home = argv[2];
    if (!s_read_table(&self, argv[1])) {
        return 2;
    }
    cn_log_init("supervisor", CN_LOG_INFO);
    /* Also when the script that started it is killed, all is stopped well. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGCHLD);
    (void)sigaddset(&signals, SIGINT);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0) {
        return 2;
    }
    self.signals = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (self.signals < 0) {
        return 2;
    }
    return s_run(&self);
}
