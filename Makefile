# Thin over meson: every target can be read in one glance.
BUILD ?= build
DESTDIR ?=
ONLY ?= *
# The test programs: meson_options.txt. A plain build leaves them out where it cannot build them.
TESTS ?=

all: build

deps-%:
	@packaging/debian-packages $*

configure: deps-build
	@packaging/configure $(BUILD) $(if $(TESTS),-Dtests=$(TESTS)) $(MESON_FLAGS)

build: configure
	@ninja -C $(BUILD) --quiet

test: deps-test
	@$(MAKE) --no-print-directory build TESTS=enabled
	@tests/run $(BUILD)

demo: build
	@experiments/demo $(BUILD)

gc-days: build
	@experiments/gc-days $(BUILD) $(if $(MARKDOWN),--markdown $(MARKDOWN))

bench: deps-bench
	@$(MAKE) --no-print-directory build TESTS=enabled
	@tests/bench/run $(BUILD) '$(ONLY)' $(if $(MARKDOWN),--markdown $(MARKDOWN))

fuzz: deps-test
	@tests/fuzz/run

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

.PHONY: all build configure test demo gc-days bench fuzz install clean
