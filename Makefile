# taskws.h is one header and needs no building. This builds the programs around it, and tests it.
# Needs GNU make and a C compiler; `make help` says what there is.

CFLAGS = -O2 -g
PREFIX = /usr/local
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow
MAKEFLAGS += -j$(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

PROGRAMS = server token watch publish doctor echo minimal
EXAMPLES = codec_only own_loop custom_routes

all: $(PROGRAMS:%=build/%)
examples: all $(EXAMPLES:%=build/%)

build/%: examples/%.c taskws.h $(wildcard examples/*.h)
	@mkdir -p build
	$(CC) -std=c99 $(WARNINGS) $(CFLAGS) -I. -Ibuild -o $@ $< -pthread

# Each compiles the whole header; of these no figure is told, and half the time will do.
$(addprefix build/,token watch publish doctor minimal): CFLAGS = -O1 -g

build/server: build/web.h
build/web.h: examples/embed.sh $(filter-out %.d.ts,$(wildcard examples/web/*))
	@mkdir -p build
	sh examples/embed.sh $(filter-out %.sh %~,$^) > $@.new
	@mv $@.new $@

run: build/server
	build/server --demo

test:
	@sh tests/run.sh $(SUITES)

install: all
	mkdir -p $(DESTDIR)$(PREFIX)/include $(DESTDIR)$(PREFIX)/bin
	cp taskws.h $(DESTDIR)$(PREFIX)/include/taskws.h
	for p in $(PROGRAMS); do cp build/$$p $(DESTDIR)$(PREFIX)/bin/taskws-$$p || exit 1; done

clean:
	rm -rf build

help:
	@echo 'make                      the programs: $(PROGRAMS:%=build/%)'
	@echo 'make run                  the server with made-up tasks; prints where the dashboard is'
	@echo 'make examples             also $(EXAMPLES:%=build/%)'
	@echo 'make install              to $$(DESTDIR)$$(PREFIX), which is $(PREFIX)'
	@echo 'make test [SUITES=word]   every test, or those whose name contains the word'
	@echo 'make fuzz [SECONDS=60] [TARGET=json]'
	@echo 'make chaos [STORIES=50]   servers, Redis, workers and readers that fail at random, and a check of all'
	@echo 'make cross                the tests of each section on s390x and ARM, which need qemu-user,'
	@echo '                          gcc-s390x-linux-gnu and gcc-arm-linux-gnueabihf'
	@echo 'make coverage             of sections 4 to 18, by their own tests'
	@echo 'make attack [KIND=pings]  what floods and slow peers cost live users (Linux, two cores)'
	@echo 'make bench [ONLY=word] [ROUNDS=5]   speed and memory; to build/bench/results.md'
	@echo '           [PEERS=1]      also of other servers that are installed; ONLY=peers: of them alone'
	@echo '           [PEER=NAME=PROGRAM]  and one of yours, as tests/bench/bench.py says'
	@echo 'make size                 bytes of code, whole and by flags and uses; seconds to compile'
	@echo 'make clean'

# -- the tests' own programs: build/test/KIND/NAME from tests/NAME.c ------------------------

SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all
# Static: of the header, each test compiles what it reaches.
TEST_FLAGS = -std=c99 -g -O1 $(WARNINGS) -Werror -DTASKWS_STATIC= -I. -Itests
# Below Part IV nothing knows a socket, and neither do its tests.
NO_SERVER = $(if $(filter test_0% test_10% test_11% test_12% test_13% test_14% test_15% test_16% \
        test_17% test_18% fuzz_% oracle,$(1)),-DTASKWS_NO_SERVER=)

# The oracle of a test, which taskws.h itself never needs.
ORACLE = $(if $(filter fuzz_inflate,$(1)),-lz)

# Other processors, emulated: one with its high bytes first, one of 32 bits, both with unsigned char.
# Not of `make test`: Debian has their compilers and gcc-multilib exclude each other.
FOREIGN = s390x-linux-gnu arm-linux-gnueabihf

define kind
build/test/$(1)/%: tests/%.c taskws.h tests/test.h
	@mkdir -p $$(@D)
	$(2) $$(TEST_FLAGS) $$(call NO_SERVER,$$*) $(3) -o $$@ $(4) $$< -pthread $$(call ORACLE,$$*)
endef
$(eval $(call kind,gcc,gcc,$(SANITIZE) -DTASKWS_IO_URING=))
$(eval $(call kind,clang,clang,$(SANITIZE)))
$(eval $(call kind,poll,clang,$(SANITIZE) -DTASKWS_POLL))
$(eval $(call kind,tsan,clang,-fsanitize=thread -DTASKWS_IO_URING=))
$(eval $(call kind,m32,gcc -m32,))
$(eval $(call kind,musl,musl-gcc -static,))
$(foreach system,$(FOREIGN),$(eval $(call kind,$(system),$(system)-gcc,)))
$(eval $(call kind,replay,$(CC),$(SANITIZE),tests/fuzz_main.c))
$(eval $(call kind,fuzz,clang,$(SANITIZE) -fsanitize=fuzzer))

# The server as chaos runs it.
build/asan/server: CHAOS_CC = gcc $(SANITIZE)
build/tsan/server: CHAOS_CC = clang -fsanitize=thread
build/asan/server build/tsan/server: examples/server.c taskws.h build/web.h $(wildcard examples/*.h)
	@mkdir -p $(@D)
	$(CHAOS_CC) $(TEST_FLAGS) -Ibuild -o $@ $< -pthread

STORIES = 50
chaos: build/asan/server
	TASKWS_BUILD=build/asan /usr/bin/python3 tests/integration/chaos.py $(shell seq $(STORIES))

attack: build/server build/bench/attack
	/usr/bin/python3 tests/bench/attack.py $(KIND)

cross: $(foreach system,$(FOREIGN),$(patsubst tests/%.c,cross/$(system)/%,$(wildcard tests/test_*.c)))
cross/%: build/test/%
	qemu-$(firstword $(subst -, ,$*)) -L /usr/$(*D) $< > $<.out 2>&1 || { cat $<.out; exit 1; }
	@echo "$*: $$(tail -n 1 $<.out)"

SECONDS = 60
fuzz: $(patsubst tests/%.c,fuzz/%,$(if $(TARGET),tests/fuzz_$(TARGET).c,\
        $(filter-out tests/fuzz_main.c,$(wildcard tests/fuzz_*.c))))
fuzz/%: build/test/fuzz/%
	sh tests/fuzz.sh $* $(SECONDS)

coverage:
	/usr/bin/python3 tests/coverage.py

# -- speed and size ---------------------------------------------------------------------------

BENCH_PROGRAMS = $(patsubst tests/bench/%.c,build/bench/%,$(wildcard tests/bench/*.c))
build/bench/%: tests/bench/%.c taskws.h $(wildcard tests/bench/*.h)
	@mkdir -p build/bench
	$(CC) -std=c99 $(WARNINGS) $(CFLAGS) -I. -o $@ $< -pthread $(if $(filter deflate,$*),-lz)
build/bench/server_poll: examples/server.c taskws.h build/web.h $(wildcard examples/*.h)
	@mkdir -p build/bench
	$(CC) -std=c99 $(WARNINGS) $(CFLAGS) -DTASKWS_POLL -I. -Ibuild -o $@ $< -pthread

bench-programs: $(BENCH_PROGRAMS) build/bench/server_poll build/echo build/server

ROUNDS = 5
bench: bench-programs
	PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 tests/bench/bench.py --rounds $(ROUNDS) \
		--only '$(ONLY)' $(if $(PEERS),--peers) --peer '$(PEER)'

size:
	@sh tests/bench/size.sh

.PHONY: all examples run test install clean help chaos attack fuzz cross coverage bench bench-programs size
.DELETE_ON_ERROR:
.SECONDARY:
