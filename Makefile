# make            build everything (MODE=release)
# make run        a running system from nothing: installs, builds, migrates, starts, loads a demo
# make test       all tests from nothing, under the sanitizers; ends with "N passed, N failed"
# make test-long  the long forms: more kills, more rows, longer fuzzing
# make bench      the figures of the design, as ratios; writes build/bench.json
# make lint       bans, layers, copies, migrations, layout, shell scripts, clang-tidy
# make format     clang-format over our sources
# make hooks      git looks at the bans, the layers and the layout before each commit
# make images     the container images (deploy/docker/Dockerfile)
# make up         images and secrets, then docker-compose up -d; docker-compose down ends it
# make events     every event with its producer and who reacts; WRITE=1: the tables of moves in the READMEs
# make clean      removes build/ (never the data of make run)
# make help       this text
#
# MODE=release|asan picks flags and build folder, V=1 shows the commands. A new service is one word in SERVICES.
ifeq ($(origin CC),default)
CC := gcc
endif
MODE     ?= release
SERVICES := gateway access referrals scheduling documents notifications
B        ?= build/$(MODE)
# The first heading of CHANGELOG.md: "## 1.2.3 - <day>", or "- unreleased".
VERSION  := $(shell sed -n '/^.. [0-9]/{s/^.. \([0-9.]*\) - unreleased$$/\1-dev/;s/^.. \([0-9.]*\) .*/\1/;p;q}' CHANGELOG.md)
COMMIT   ?= $(shell git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
Q        := $(if $(V),,@)
GEN      := build/gen
PROTOS   := $(wildcard proto/cairn/*.proto)
PKGS     := libzmq libprotobuf-c libpq libmicrohttpd jansson libsodium libcurl libical libutf8proc

WARN := -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
  -Wold-style-definition -Wvla -Walloca -Wformat=2 -Wundef -Wnull-dereference -Wimplicit-fallthrough -Wcast-qual \
  -Wwrite-strings -Wpointer-arith -Wdouble-promotion -Wredundant-decls -Wnested-externs -Werror
ifneq (,$(findstring gcc,$(CC)))
WARN += -Wformat-overflow=2 -Wformat-truncation=2 -Wformat-signedness -Wduplicated-cond -Wduplicated-branches -Wlogical-op \
  -Warith-conversion -Wcast-align=strict -Wjump-misses-init -Wstringop-overflow=4 -Wuse-after-free=3 -Wtrampolines
HARDEN_CC := -ftrivial-auto-var-init=zero
endif
ifeq ($(MODE),asan)
OPT  := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# Debian's gold links the many test programs in half the time.
LOPT := -fsanitize=address,undefined -fuse-ld=gold
else
OPT  := -O2 -g -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fno-common -fPIE $(HARDEN_CC)
LOPT := -pie -Wl,-z,relro,-z,now,-z,noexecstack
endif
# Asked once, and not before something is compiled: `make install` may have to
# install pkg-config first.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS)))$(PKG_CFLAGS)
PKG_LIBS   = $(eval PKG_LIBS := $(shell pkg-config --libs $(PKGS)))$(PKG_LIBS)
CPPFLAGS  := -D_GNU_SOURCE -I. -isystem $(GEN)
CFLAGS     = -std=gnu17 $(OPT) $(WARN) $(PKG_CFLAGS)
GEN_CFLAGS = -std=gnu17 $(OPT) -w $(PKG_CFLAGS)

# One stem per proto: pb-c (protobuf-c), cairn (shapes, routes, events), handlers (a service's method table).
STEMS     := $(filter-out http,$(basename $(notdir $(PROTOS))))
# Tables and statements of resources belong to the service alone.
GEN_C     := $(foreach s,$(STEMS),$(GEN)/cairn/$(s).pb-c.c $(GEN)/cairn/$(s).cairn.c) $(GEN)/cairn/routes.c
GEN_OBJ   := $(GEN_C:$(GEN)/%.c=$(B)/gen/%.o)
# What every service serves has its handlers in common/.
LIB_OBJ   := $(patsubst %.c,$(B)/%.o,$(wildcard common/*/*.c)) $(GEN_OBJ) $(B)/gen/cairn/operator.handlers.o
gen_of    = $(B)/gen/cairn/$(1).handlers.o $(B)/gen/cairn/$(1).resources.o
BIN       := $(foreach s,$(SERVICES),$(B)/cairn-$(s))
TOOLS     := $(B)/cairn-supervisor $(B)/cairn-keys
UNIT      := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(wildcard tests/unit/*_test.c))
STORE     := $(patsubst tests/store/%.c,$(B)/tests/store/%,$(wildcard tests/store/*_test.c))
MIGRATE   := $(foreach s,$(filter-out gateway,$(SERVICES)),build/migrations/$(s)/0001_platform.sql)

.PHONY: FORCE events all run test test-long bench lint format hooks images up clean help install gen tests migrations
.SECONDARY:
.SECONDEXPANSION:
.DELETE_ON_ERROR:

all: $(BIN) $(TOOLS) $(B)/cairn-audit migrations
tests: $(UNIT) $(STORE)
gen: $(GEN)/.done
migrations: $(MIGRATE)
install:
	deploy/install
run: install
	deploy/local/run
test: install
	tests/run
test-long: install
	tests/run --long
bench: install
	tests/bench/run
lint: install
	tests/lint
images:
	deploy/docker/setup images
up:
	deploy/docker/setup up
events: all
	tests/events.py $(B) $(if $(WRITE),--write)
format:
	clang-format-14 -i $$(git ls-files '*.c' '*.h')
hooks:
	@hook="$$(git rev-parse --git-path hooks)/pre-commit"; mkdir -p "$${hook%/*}"; \
	  [ "$$hook" -ef tests/hooks/pre-commit ] || ln -s "$(CURDIR)/tests/hooks/pre-commit" "$$hook"
clean:
	rm -rf build
help:
	@sed -n '/^#/!q;s/^# \{0,1\}//p' Makefile

PLUGIN := build/tool/protoc-gen-cairn
# The policy says which events need a branch.
$(PLUGIN): $(wildcard proto/plugin/*.[ch]) common/policy/principal.c common/base/err.c
	@mkdir -p build/tool/gen
	protoc --proto_path=/usr/include --c_out=build/tool/gen google/protobuf/compiler/plugin.proto google/protobuf/descriptor.proto
	$(CC) -O1 -w -isystem build/tool/gen -c build/tool/gen/google/protobuf/compiler/plugin.pb-c.c -o build/tool/plugin.pb-c.o
	$(CC) -O1 -w -isystem build/tool/gen -c build/tool/gen/google/protobuf/descriptor.pb-c.c -o build/tool/descriptor.pb-c.o
	$(CC) -std=gnu17 -O1 -g -D_GNU_SOURCE -I. $(WARN) -isystem build/tool/gen $(wildcard proto/plugin/*.c) common/policy/principal.c common/base/err.c build/tool/plugin.pb-c.o \
	  build/tool/descriptor.pb-c.o $(shell pkg-config --cflags --libs libprotobuf-c) -o $@
$(GEN)/.done: $(PROTOS) $(PLUGIN)
	@mkdir -p $(GEN)
	protoc --proto_path=proto --proto_path=/usr/include --c_out=$(GEN) --plugin=protoc-gen-cairn=$(PLUGIN) --cairn_out=$(GEN) \
	  $(patsubst proto/%,%,$(PROTOS))
	@touch $@
$(GEN)/%.c $(GEN)/%.h: $(GEN)/.done ;

# A service's migrations: the platform's, rendered for its schema, and its own; one row of numbers for both.
build/migrations/%/0001_platform.sql: $(wildcard common/schema/*.sql) $$(wildcard services/$$*/migrations/*.sql)
	@mkdir -p $(@D) && rm -f $(@D)/*.sql
	for f in common/schema/*.sql; do sed 's/{{schema}}/$*/g' $$f > $(@D)/$${f##*/} || exit 1; done
	if ls services/$*/migrations/*.sql >/dev/null 2>&1; then cp services/$*/migrations/*.sql $(@D)/; fi
	@touch $@

$(B)/gen/%.o: $(GEN)/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(GEN_CFLAGS) -MD -MP -c $< -o $@
$(B)/%.o: %.c Makefile | $(GEN)/.done
	@mkdir -p $(@D)
	@echo CC $<
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MD -MP -c $< -o $@
# The library is an archive: each program takes only what it uses.
$(B)/libcairn.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^
# A % written in the prerequisites of a static pattern rule becomes the stem, even in the second expansion.
# Beside the library: a commit links the programs anew and no test.
$(B)/version.c: FORCE
	@mkdir -p $(@D)
	@printf 'extern const char cn_version[];\nconst char cn_version[] = "%s";\n' '$(VERSION) $(COMMIT)' >$@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@
$(B)/version.o: $(B)/version.c
	$(Q)$(CC) $(CFLAGS) -c $< -o $@
objects_of = $(patsubst %.c,$(B)/%.o,$(1))
without_main = $(filter-out %/main.c,$(1))
$(BIN): $(B)/cairn-%: $$(call objects_of,$$(wildcard services/$$*/*.c)) $$(if $$(filter gateway,$$*),,$$(call gen_of,$$*)) $(B)/version.o $(B)/libcairn.a
	@echo LD $@
	$(Q)$(CC) $(LOPT) $(filter %.o,$^) $(B)/libcairn.a $(PKG_LIBS) -o $@
$(TOOLS): $(B)/cairn-%: $(B)/deploy/local/%.o $(B)/libcairn.a
	@echo LD $@
	$(Q)$(CC) $(LOPT) $(filter %.o,$^) $(B)/libcairn.a $(PKG_LIBS) -o $@
$(B)/cairn-audit: $(B)/deploy/audit/main.o $(B)/libcairn.a
	@echo LD $@
	$(Q)$(CC) $(LOPT) $(filter %.o,$^) $(B)/libcairn.a $(PKG_LIBS) -o $@
# What system tests need beside the product: make build/asan/tests/tool/unseal
$(B)/tests/tool/%: $(B)/tests/tool/%.o $(B)/libcairn.a
	@echo LD $@
	$(Q)$(CC) $(LOPT) $(filter %.o,$^) $(B)/libcairn.a $(PKG_LIBS) -o $@
# A unit or store test links the library, tests/lib and, by its name, one service without its main:
# referrals_rules_test.c takes services/referrals. A store test takes the service's method table too.
test_service = $(firstword $(foreach s,$(SERVICES),$(if $(filter $(s) $(s)_%,$(1:_test=)),$(s))))
$(UNIT) $(STORE): $(B)/tests/%: $(B)/tests/%.o $$(call objects_of,$$(wildcard tests/lib/*.c)) $(B)/libcairn.a \
  $$(foreach s,$$(call test_service,$$(notdir $$*)),$$(call objects_of,$$(call without_main,$$(wildcard services/$$(s)/*.c))) \
    $$(if $$(findstring gateway,$$(s)),,$$(if $$(findstring store/,$$*),$$(call gen_of,$$(s)),$(B)/gen/cairn/$$(s).resources.o)))
	@echo LD $@
	$(Q)$(CC) $(LOPT) $(filter %.o,$^) $(B)/libcairn.a $(PKG_LIBS) $(shell pkg-config --libs cmocka) -o $@

%.d: ;
-include $(shell find $(B) -name '*.d' 2>/dev/null)
