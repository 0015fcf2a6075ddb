# Tickertape's one Makefile. Nothing recurses; everything that is built lies under build/.
#
#   make                     build/release/tickertape, ttload and ttlog, tickertape-kafka.so
#   make VARIANT=asan        the same in another variant: release, debug, asan, tsan
#   make help                the rest
#
# A new .c file is found by itself: proto/, store/ and shard/ become one static library, broker/ the
# broker, broker/kafka/module/ its Kafka module, tools/ttload/ and tools/ttlog/ the tools,
# tests/unit/*_test.c a Criterion program each, tests/tsan/*_test.c a plain program each,
# tests/support/ a library for all of these, bench/*.c a program each.

VARIANT ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
JOBS    ?= $(shell nproc)
CC      ?= gcc
AR      ?= ar
ifeq ($(origin CC),default)
CC := gcc
endif

B := build/$(VARIANT)

comma := ,

# V=1 shows whole commands; otherwise a word and the file.
Q   := $(if $(V),,@)
say = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@printf '  %-6s %s\n' $(1) $(2))

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

# ---- flags ----------------------------------------------------------------------------------------

FLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2 -fstack-protector-strong
FLAGS_debug   := -O0 -g -DTT_SLOW_ASSERTIONS
FLAGS_asan    := -O1 -g -DTT_SLOW_ASSERTIONS -fsanitize=address,undefined \
                 -fno-sanitize-recover=undefined
FLAGS_tsan    := -O1 -g -DTT_SLOW_ASSERTIONS -fsanitize=thread

ifeq ($(FLAGS_$(VARIANT)),)
$(error VARIANT=$(VARIANT): allowed are release, debug, asan and tsan)
endif

WARNINGS := -Wall -Wextra -Wconversion -Wswitch-enum -Wvla -Wstrict-prototypes -Werror
# Criterion's macros define functions without a prototype.
WARNINGS_PRODUCT := -Wmissing-prototypes

CPPFLAGS_ALL := -I. -Ibuild -D_GNU_SOURCE $(CPPFLAGS)
# Messages, records and addresses are read in place, out of arrays of bytes: no strict aliasing.
CFLAGS_ALL   := -std=gnu17 $(WARNINGS) -fno-strict-aliasing -fno-omit-frame-pointer -pthread $(FLAGS_$(VARIANT)) $(CFLAGS)
LDFLAGS_ALL  := -pthread $(filter -fsanitize=%,$(FLAGS_$(VARIANT))) -Wl,-z,relro,-z,now \
                -Wl,--as-needed $(LDFLAGS)
LIBS         := -luring -linih -ljansson -lm $(LDLIBS)
LIBS_UNIT    := -lcriterion $(LIBS)

# librdkafka of another place (its include/ and lib/), in place of the package librdkafka-dev.
LIBRDKAFKA_PREFIX ?=
CPPFLAGS_MODULE := $(if $(LIBRDKAFKA_PREFIX),-isystem $(LIBRDKAFKA_PREFIX)/include)
LIBS_MODULE     := $(if $(LIBRDKAFKA_PREFIX),-L$(LIBRDKAFKA_PREFIX)/lib -Wl$(comma)-rpath$(comma)$(LIBRDKAFKA_PREFIX)/lib) \
                   -lrdkafka

# ---- sources --------------------------------------------------------------------------------------

sources = $(sort $(shell find $(wildcard $(1)) /dev/null -name '*.c' 2>/dev/null))
objects = $(patsubst %.c,$(B)/obj/%.o,$(1))

LIB_SRC     := $(call sources,proto store shard)
BROKER_SRC  := $(sort $(wildcard broker/*.c broker/kafka/*.c))
MODULE_SRC  := $(sort $(wildcard broker/kafka/module/*.c))
TTLOAD_SRC  := $(call sources,tools/ttload)
TTLOG_SRC   := $(call sources,tools/ttlog)
SUPPORT_SRC := $(call sources,tests/support)
UNIT_SRC    := $(sort $(wildcard tests/unit/*_test.c))
TSAN_SRC    := $(sort $(wildcard tests/tsan/*_test.c))
BENCH_SRC   := $(sort $(wildcard bench/*.c))
WEB_FILES   := $(sort $(shell find $(wildcard tools/web) /dev/null -type f ! -name 'README.md' 2>/dev/null))

LIB         := $(B)/libtickertape.a
# What unit tests may link of the programs: everything but their main().
BROKER_LIB  := $(if $(filter-out broker/main.c,$(BROKER_SRC)),$(B)/libbroker.a)
TTLOAD_LIB  := $(if $(filter-out tools/ttload/main.c,$(TTLOAD_SRC)),$(B)/libttload.a)
TTLOG_LIB   := $(if $(filter-out tools/ttlog/main.c,$(TTLOG_SRC)),$(B)/libttlog.a)
SUPPORT_LIB := $(if $(SUPPORT_SRC),$(B)/libsupport.a)

PROGRAMS := $(if $(filter broker/main.c,$(BROKER_SRC)),$(B)/tickertape) \
            $(if $(filter tools/ttload/main.c,$(TTLOAD_SRC)),$(B)/ttload) \
            $(if $(filter tools/ttlog/main.c,$(TTLOG_SRC)),$(B)/ttlog)
MODULE   := $(if $(MODULE_SRC),$(B)/tickertape-kafka.so)
UNIT     := $(patsubst tests/unit/%_test.c,$(B)/unit/%_test,$(UNIT_SRC))
TSAN     := $(patsubst tests/tsan/%_test.c,$(B)/tsan/%_test,$(TSAN_SRC))
BENCHES  := $(patsubst bench/%.c,$(B)/bench_%,$(BENCH_SRC))

# ---- programs -------------------------------------------------------------------------------------

.PHONY: all lib unit-programs tsan-programs bench-programs FORCE
all: $(LIB) $(BROKER_LIB) $(TTLOAD_LIB) $(TTLOG_LIB) $(PROGRAMS) $(MODULE)
lib: $(LIB)
unit-programs: $(UNIT) $(MODULE)
tsan-programs: $(TSAN)
bench-programs: $(BENCHES)

# Stamps: rewritten only when their text changes, so that new flags rebuild every object and a
# removed source file rebuilds its library.
FLAGS_TEXT := $(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(LDFLAGS_ALL) $(LIBS) $(CPPFLAGS_MODULE) $(LIBS_MODULE)
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(FLAGS_TEXT)' | cmp -s - $@ || echo '$(FLAGS_TEXT)' >$@

$(B)/sources: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_SRC) $(BROKER_SRC) $(MODULE_SRC) $(TTLOAD_SRC) $(TTLOG_SRC) $(SUPPORT_SRC)' | cmp -s - $@ || \
	    echo '$(LIB_SRC) $(BROKER_SRC) $(MODULE_SRC) $(TTLOAD_SRC) $(TTLOG_SRC) $(SUPPORT_SRC)' >$@

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) $(if $(filter tests/%,$<),,$(WARNINGS_PRODUCT)) -MMD -MP -c $< -o $@

# Of the module one name is seen from outside.
$(call objects,$(MODULE_SRC)): CPPFLAGS_ALL += $(CPPFLAGS_MODULE)
$(call objects,$(MODULE_SRC)): CFLAGS_ALL += -fPIC -fvisibility=hidden

$(B)/gen/%.o: build/gen/%.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS_ALL) $(CFLAGS_ALL) -MMD -MP -c $< -o $@

# q, not r: members of one name from two directories are both kept.
define archive
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) qcs $@ $(filter %.o,$^)
endef

$(LIB): $(call objects,$(LIB_SRC)) $(B)/gen/web_assets.o $(B)/sources
	$(archive)
$(B)/libbroker.a: $(call objects,$(filter-out broker/main.c,$(BROKER_SRC))) $(B)/sources
	$(archive)
$(B)/libttload.a: $(call objects,$(filter-out tools/ttload/main.c,$(TTLOAD_SRC))) $(B)/sources
	$(archive)
$(B)/libttlog.a: $(call objects,$(filter-out tools/ttlog/main.c,$(TTLOG_SRC))) $(B)/sources
	$(archive)
$(B)/libsupport.a: $(call objects,$(SUPPORT_SRC)) $(B)/sources
	$(archive)

link = $(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^)

$(B)/tickertape: $(B)/obj/broker/main.o $(BROKER_LIB) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS)
$(B)/ttload: $(B)/obj/tools/ttload/main.o $(TTLOAD_LIB) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS)
$(B)/ttlog: $(B)/obj/tools/ttlog/main.o $(TTLOG_LIB) $(BROKER_LIB) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS)
$(MODULE): $(call objects,$(MODULE_SRC)) $(B)/sources
	$(call say,LINK,$@)
	$(Q)$(link) -shared $(LIBS_MODULE)
$(B)/unit/%_test: $(B)/obj/tests/unit/%_test.o $(SUPPORT_LIB) $(TTLOG_LIB) $(BROKER_LIB) $(TTLOAD_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS_UNIT)
$(B)/tsan/%_test: $(B)/obj/tests/tsan/%_test.o $(SUPPORT_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS)
# A plain consumer, to compare with.
$(B)/bench_kafka_loop: LIBS += $(LIBS_MODULE)
$(B)/obj/bench/kafka_loop.o: CPPFLAGS += $(CPPFLAGS_MODULE)
$(B)/bench_%: $(B)/obj/bench/%.o $(TTLOAD_LIB) $(LIB)
	$(call say,LINK,$@)
	$(Q)$(link) $(LIBS)

# ---- generated: the files of tools/web, embedded ------------------------------------------------------

build/gen/embed: tools/embed.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=gnu17 $(WARNINGS) -O1 $< -o $@

build/gen/web_files: FORCE
	@mkdir -p $(@D)
	@echo '$(WEB_FILES)' | cmp -s - $@ || echo '$(WEB_FILES)' >$@

build/gen/web_assets.c: build/gen/embed build/gen/web_files $(WEB_FILES)
	$(call say,EMBED,$@)
	$(Q)build/gen/embed tools/web $@ build/gen/web_assets.h $(WEB_FILES)
build/gen/web_assets.h: build/gen/web_assets.c ;

# Whoever includes "gen/web_assets.h" finds it made before its first compilation.
$(call objects,$(LIB_SRC) $(BROKER_SRC) $(UNIT_SRC)) $(B)/gen/web_assets.o: | build/gen/web_assets.h

# ---- tests ----------------------------------------------------------------------------------------

.PHONY: unit
unit: $(UNIT) $(MODULE)
	@failed=; for t in $(UNIT); do echo "== $$t"; $$t || failed="$$failed $$t"; done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed"; exit 1; fi

# One of them opens the module.
unit-%: $(B)/unit/%_test $(MODULE)
	$<
tsan-%: $(B)/tsan/%_test
	$<

.PHONY: test test-long test-kafka-long bench soak setup-test
setup-test:
	@tools/setup test
test: setup-test
	@tests/run $(if $(ONLY),--only '$(ONLY)')
test-long: setup-test
	@tests/run --long $(if $(ONLY),--only '$(ONLY)')
test-kafka-long: setup-test
	@tests/run --long --kafka $(if $(ONLY),--only '$(ONLY)')
bench: setup-test
	@tools/setup bench || echo 'bench: going on without Nchan'
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=release all bench-programs
	@bench/run
MINUTES ?= 60
soak: setup-test
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=release all bench-programs
	@bench/soak.mjs --minutes=$(MINUTES) $(SOAK)

# ---- checks ---------------------------------------------------------------------------------------

CLANG_FORMAT ?= clang-format-14
CLANG_TIDY   ?= clang-tidy-14

C_FILES    := $(sort $(shell find proto store shard broker tools bench tests \
                  \( -name node_modules -prune \) -o -name '*.[ch]' -print 2>/dev/null))
TIDY_SRC   := $(filter %.c,$(C_FILES))
TIDY       := $(patsubst %.c,build/tidy/%.ok,$(TIDY_SRC))

# Rewrites what `make check` would complain about.
.PHONY: format
format:
	@$(CLANG_FORMAT) -i $(C_FILES)

.PHONY: check check-all check-format check-layers check-tidy
check: setup-test
	@$(MAKE) --no-print-directory -k -j$(JOBS) VARIANT=release check-all
	@echo 'check: formatting, layers and clang-tidy are clean'
check-all: check-format check-layers check-tidy

check-format:
	@$(CLANG_FORMAT) --dry-run -Werror $(C_FILES)
check-layers: $(LIB)
	@tools/layers
	@tools/layers --symbols $(B)/obj
check-tidy: $(TIDY)

# Slow, so only what changed is looked at again: the file, a header it includes, or the rules.
build/tidy/%.ok: %.c .clang-tidy tests/.clang-tidy | build/gen/web_assets.h
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS_ALL) $(CPPFLAGS_MODULE) -std=gnu17 -MM -MP -MT $@ -MF $(@:.ok=.d) $<
	@$(CLANG_TIDY) --quiet $< -- $(CPPFLAGS_ALL) $(CPPFLAGS_MODULE) -std=gnu17 -DTT_SLOW_ASSERTIONS >$(@:.ok=.log) 2>&1 || \
	    { cat $(@:.ok=.log); exit 1; }
	@touch $@

# ---- running and installing -----------------------------------------------------------------------

LISTEN     ?= 127.0.0.1:8080
OPS_LISTEN ?= 127.0.0.1:9090
KAFKA_PORT ?= 9092

.PHONY: run run-kafka install uninstall
run:
	@tools/setup build
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=$(VARIANT) all
	@tools/run-demo $(B) '$(LISTEN)' '$(OPS_LISTEN)' $(ARGS)

run-kafka:
	@tools/setup kafka
	@$(MAKE) --no-print-directory -j$(JOBS) VARIANT=$(VARIANT) all
	@KAFKA_PORT='$(KAFKA_PORT)' tools/run-demo $(B) '$(LISTEN)' '$(OPS_LISTEN)' $(ARGS)

BINDIR := $(DESTDIR)$(PREFIX)/bin
LIBDIR := $(DESTDIR)$(PREFIX)/lib/tickertape
install: all
	install -d $(BINDIR)
	@$(if $(strip $(PROGRAMS)),,echo 'there is no program to install'; exit 1)
	install -m 755 $(PROGRAMS) $(BINDIR)
	install -d $(LIBDIR)
	install -m 644 $(MODULE) $(LIBDIR)
uninstall:
	rm -f $(addprefix $(BINDIR)/,$(notdir $(PROGRAMS))) $(addprefix $(LIBDIR)/,$(notdir $(MODULE)))
	-rmdir $(LIBDIR)

# ---- the rest -------------------------------------------------------------------------------------

.PHONY: clean help
clean:
	rm -rf build

help:
	@echo 'make                build/release/tickertape, ttload, ttlog and tickertape-kafka.so'
	@echo 'make run            installs what is missing, builds, and shows a simulated market on'
	@echo '                    http://$(LISTEN)/demo/; LISTEN=HOST:PORT and OPS_LISTEN= choose others,'
	@echo '                    ARGS= gives the broker more options'
	@echo 'make run-kafka      the same on a real Kafka: fetches it, starts it on KAFKA_PORT=$(KAFKA_PORT) and'
	@echo '                    produces the market to it'
	@echo 'make test           installs what is missing and runs every test; ONLY=PATTERN chooses'
	@echo 'make test-long      and the tests that take longer than a few minutes'
	@echo 'make test-kafka-long  those on a real Kafka, for longer'
	@echo 'make check          clang-format, clang-tidy, and the layer check'
	@echo 'make format         lets clang-format rewrite the sources'
	@echo 'make bench          the benchmarks'
	@echo 'make soak           an hour of coming and going on each back end (MINUTES=5: shorter)'
	@echo 'make install        into PREFIX ($(PREFIX)), below DESTDIR; uninstall removes it again'
	@echo 'make unit           the unit tests of one variant; unit-NAME runs tests/unit/NAME_test.c'
	@echo 'make clean          removes build/'
	@echo 'VARIANT=V           release (the default), debug, asan or tsan; each has its build/V/'
	@echo 'V=1                 shows the commands'

-include $(shell find $(B) $(wildcard build/tidy) -name '*.d' 2>/dev/null)
