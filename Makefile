# Thin over meson: every target can be read in one glance.
BUILD ?= build
DESTDIR ?=
ONLY ?= *

# The source files are found, not listed: reconfigure when their set changes.
SOURCES = $(BUILD)/sources.list

all: build

deps-%:
	@packaging/debian-packages $*

configure: deps-build
	@test -f $(BUILD)/build.ninja || CC="ccache gcc" meson setup $(BUILD) $(MESON_FLAGS) >/dev/null
	@find lib cmd runtime tests -name '*.[chS]' -o -name 'test_*.py' | LC_ALL=C sort > $(SOURCES).new
	@cmp -s $(SOURCES).new $(SOURCES) || \
		{ test ! -f $(SOURCES) || meson setup --reconfigure $(BUILD) >/dev/null; mv $(SOURCES).new $(SOURCES); }
	@rm -f $(SOURCES).new

build: configure
	@ninja -C $(BUILD) --quiet

test: deps-test build
	@tests/run $(BUILD)

demo: build
	@experiments/demo $(BUILD)

gc-days: build
	@experiments/gc-days $(BUILD) $(if $(MARKDOWN),--markdown $(MARKDOWN))

bench: deps-bench build
	@tests/bench/run $(BUILD) '$(ONLY)' $(if $(MARKDOWN),--markdown $(MARKDOWN))

fuzz: deps-test
	@tests/fuzz/run

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

.PHONY: all build configure test demo gc-days bench fuzz install clean
