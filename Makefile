# SPDX-License-Identifier: MIT
# containerd-fsck. GNU make; everything made lands in $(BUILD).
#
#   make                     build/containerd-fsck, one static binary
#   make test                every test, with what it needs installed (Debian, root); check: the ones that need nothing
#   make unit lint fuzz      parts of it
#   make demo                the report this tool was born from, with real containerd
#   make crash POINTS=n      power cuts; healthy: false positives
#   make size                the binary's size and its parts
#   make install DESTDIR= PREFIX=/usr/local
#
#   DEPS=DIR                 takes the libraries' tarballs from DIR instead of through apt: no network
#   BUILD=DIR                builds there; two builds at once need two
#   V=1                      prints whole commands

VERSION := 0.1
BUILD ?= build
PREFIX ?= /usr/local
DESTDIR ?=
POINTS ?= 2
Q := $(if $(V),,@)
said = @$(if $(V),:,echo '  $1')

# ---- what we are made of -------------------------------------------------------------------------------------------

MODULES := base os_linux bolt bolt_edit oci tar path stream layer rebuild feed problem store survey plan apply report opts main
MODULES := $(foreach m,$(MODULES),$(if $(wildcard stage/$m.c),$m))

# Debian's orig tarballs, those of Debian 12 and, where it differs, of Debian 13: SHA-256. Only the files named are built.
PIN_zlib    := 71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1 \
               60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb
PIN_libzstd := 8cf4bbb65e77ec348d052c8d6230eba66d435bddf64c8b5be2fcb16880c19953 \
               0c092ef267edce57ba7f3f2645c861f72eaf5e76273c6c3632869423464b90a5
PIN_bearssl := 102a625bd8f6155260867a50c508df8d8c3f796985dd744df1a68e5cd1a79004
PIN_jsmn    := 5f0913a10657fe7ec8d5794ccf00a01000e3e1f2f1e1f143c34a0f7b47edcb38
LIBRARIES := zlib libzstd bearssl jsmn

zlib_FILES := adler32 crc32 inffast inflate inftrees zutil
libzstd_FILES := lib/common/debug lib/common/entropy_common lib/common/error_private lib/common/fse_decompress \
	lib/common/xxhash lib/common/zstd_common lib/decompress/huf_decompress lib/decompress/zstd_ddict \
	lib/decompress/zstd_decompress lib/decompress/zstd_decompress_block
bearssl_FILES := src/codec/dec32be src/codec/dec64be src/codec/enc32be src/codec/enc64be src/hash/sha2big src/hash/sha2small

SOURCES := $(BUILD)/deps
# Z_SOLO leaves zlib without limits.h, and then without its word-wise CRC
LIB_FLAGS := -w -DZ_SOLO -DZ_U4=__UINT32_TYPE__ -DZ_U8=__UINT64_TYPE__ -DZSTD_DISABLE_ASM=1 -DZSTD_LEGACY_SUPPORT=0 -DZSTD_TRACE=0 \
	-DXXH_NAMESPACE=ZSTD_ -DDEBUGLEVEL=0 -I$(SOURCES)/bearssl/inc -I$(SOURCES)/bearssl/src
OUR_FLAGS := -std=c11 -D_GNU_SOURCE -DPROGRAM_VERSION='"$(VERSION)"' -Istage -isystem $(SOURCES)/zlib \
	-isystem $(SOURCES)/libzstd/lib -isystem $(SOURCES)/bearssl/inc -isystem $(SOURCES)/jsmn
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wswitch-enum -Wvla -Wformat=2 -Werror

# ---- the same code for several purposes ----------------------------------------------------------------------------

# musl: what is installed.
MUSL_CC := musl-gcc
MUSL_LIB := $(firstword $(wildcard /usr/lib/$(shell uname -m)-linux-musl /usr/lib/musl/lib))
MUSL_CFLAGS := -O2 -fPIE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables \
	-fstack-protector-strong -ffile-prefix-map=$(CURDIR)=. -idirafter $(BUILD)/kernel
# host: the machine's own libc, with every check the compiler has. Tests run on these.
HOST_CC := gcc
SANITIZE := -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
HOST_CFLAGS := -O1 $(SANITIZE)
# fuzz: as host, and counted for libFuzzer.
FUZZ_CC := clang
FUZZ_CFLAGS := -O1 $(SANITIZE) -fsanitize=fuzzer-no-link

# objects_of VARIANT: all of ours but main, and the libraries'
library_objects = $(foreach l,zlib libzstd bearssl,$(patsubst %,$(BUILD)/$1/$l/%.o,$($l_FILES)))
our_objects = $(patsubst %,$(BUILD)/$1/stage/%.o,$(filter-out main,$(MODULES)))

MUSL_OBJECTS := $(patsubst %,$(BUILD)/musl/stage/%.o,$(MODULES)) $(call library_objects,musl)

ifneq ($(filter main,$(MODULES)),)
all: $(BUILD)/containerd-fsck $(BUILD)/containerd-fsck.8
else
all: $(MUSL_OBJECTS)
endif

# The pins are part of the name, so that changing one fetches again.
PINS := $(foreach l,$(LIBRARIES),$(patsubst %,$l:%,$(PIN_$l)))
SOURCES_DONE := $(SOURCES)/done-$(firstword $(shell echo '$(PINS)' | cksum))

define variant
$(BUILD)/$1/stage/%.o: stage/%.c Makefile $(SOURCES_DONE)
	@mkdir -p $$(@D)
	$$(call said,$1 $$<)
	$(Q)$2 $(OUR_FLAGS) $(WARNINGS) $3 -MMD -MP -c -o $$@ $$<
$(BUILD)/$1/zlib/%.o $(BUILD)/$1/libzstd/%.o $(BUILD)/$1/bearssl/%.o: $(SOURCES_DONE) Makefile
	@mkdir -p $$(@D)
	$$(call said,$1 $$*)
	$(Q)$2 $(LIB_FLAGS) $3 -c -o $$@ $$(patsubst $(BUILD)/$1/%.o,$(SOURCES)/%.c,$$@)
-include $$(patsubst %,$(BUILD)/$1/stage/%.d,$(MODULES))
endef
$(eval $(call variant,musl,$(MUSL_CC),$(MUSL_CFLAGS)))
$(eval $(call variant,host,$(HOST_CC),$(HOST_CFLAGS)))
$(eval $(call variant,fuzz,$(FUZZ_CC),$(FUZZ_CFLAGS)))

# musl's headers come without the kernel's
$(BUILD)/musl/stage/os_linux.o: | $(BUILD)/kernel
$(BUILD)/kernel:
	@mkdir -p $@
	ln -sfn /usr/include/linux $@/linux
	ln -sfn /usr/include/asm-generic $@/asm-generic
	ln -sfn /usr/include/$$(gcc -print-multiarch)/asm $@/asm

# ---- linking -------------------------------------------------------------------------------------------------------

# musl-gcc knows no -static-pie: the start files are named here, and its own left out.
ifneq ($(wildcard $(MUSL_LIB)/rcrt1.o),)
MUSL_LINK := -nostartfiles -Wl,-static,-pie,--no-dynamic-linker,-z,text
MUSL_BEGIN := $(MUSL_LIB)/rcrt1.o $(MUSL_LIB)/crti.o $(shell gcc -print-file-name=crtbeginS.o)
MUSL_END := $(shell gcc -print-file-name=crtendS.o) $(MUSL_LIB)/crtn.o
else
MUSL_LINK := -static
endif
MUSL_LDFLAGS := $(MUSL_LINK) -Wl,--gc-sections,--build-id=none,-z,relro,-z,now,-z,noexecstack

$(BUILD)/containerd-fsck.full: $(MUSL_OBJECTS)
	$(MUSL_CC) $(MUSL_LDFLAGS) -Wl,-Map=$@.map -o $@ $(MUSL_BEGIN) $(MUSL_OBJECTS) -lgcc -lc $(MUSL_END)
$(BUILD)/containerd-fsck: $(BUILD)/containerd-fsck.full
	strip --strip-all -R .comment -R .note.gnu.property -o $@ $<

$(BUILD)/containerd-fsck-asan: $(patsubst %,$(BUILD)/host/stage/%.o,$(MODULES)) $(call library_objects,host)
	$(HOST_CC) $(HOST_CFLAGS) -o $@ $^ -lpthread

# The same objects, each change of the disk through tests/fault/wrap.c.
WRAPPED := mkdir create open_write write truncate fsync syncfs rename rename_new unlink rmdir link symlink mknod chown chmod \
	set_times xattr_set xattr_remove
comma := ,
$(BUILD)/containerd-fsck-fault: $(MUSL_OBJECTS) tests/fault/wrap.c
	$(MUSL_CC) $(OUR_FLAGS) $(WARNINGS) $(MUSL_CFLAGS) -c -o $(BUILD)/musl/wrap.o tests/fault/wrap.c
	$(call said,link $@)
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) $(WRAPPED:%=-Wl$(comma)--wrap=os_%) -o $@ $(MUSL_BEGIN) $(MUSL_OBJECTS) $(BUILD)/musl/wrap.o \
		-lgcc -lc $(MUSL_END)

HOST_LIB := $(BUILD)/host/stage.a
$(HOST_LIB): $(call our_objects,host) $(call library_objects,host)
	@rm -f $@
	$(Q)ar rcs $@ $^

# The manual page; its problem list is the problem table.
$(BUILD)/containerd-fsck.8: stage/containerd-fsck.8 stage/problem.def
	@mkdir -p $(@D)
	awk -f stage/problems.awk stage/problem.def stage/containerd-fsck.8 >$@

# ---- tests ---------------------------------------------------------------------------------------------------------

UNITS := $(patsubst tests/unit/test_%.c,$(BUILD)/unit/test_%,$(sort $(wildcard tests/unit/test_*.c)))
$(BUILD)/unit/%: tests/unit/%.c tests/unit/test.h $(HOST_LIB)
	@mkdir -p $(@D)
	$(HOST_CC) $(OUR_FLAGS) $(WARNINGS) $(HOST_CFLAGS) -o $@ $< $(HOST_LIB) -lpthread

# Tools of the tests, written in C: tests/x/y.c becomes $(BUILD)/tool/x/y
$(BUILD)/tool/%: tests/%.c $(HOST_LIB)
	@mkdir -p $(@D)
	$(HOST_CC) $(OUR_FLAGS) $(WARNINGS) $(HOST_CFLAGS) -o $@ $< $(HOST_LIB) -lpthread

FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzzer/%,$(sort $(wildcard tests/fuzz/*.c)))
FUZZ_SECONDS ?= 20
$(BUILD)/fuzzer/%: tests/fuzz/%.c $(call our_objects,fuzz) $(call library_objects,fuzz)
	@mkdir -p $(@D)
	$(FUZZ_CC) $(OUR_FLAGS) $(WARNINGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $^ -lpthread

unit: $(UNITS)
	@set -e; for t in $(UNITS); do $$t; done

install-deps-build:
	tests/install-build-deps build
.PHONY: all unit install-deps-build clean
clean:
	rm -rf $(BUILD)/musl $(BUILD)/host $(BUILD)/fuzz $(BUILD)/unit $(BUILD)/tool $(BUILD)/fuzzer $(BUILD)/kernel $(BUILD)/containerd-fsck*

# ---- the libraries' sources ----------------------------------------------------------------------------------------

# Through apt's own client, so that Debian's signatures are checked, with a state directory of its own: the system's
# lists stay as they are. Then each tarball must be one of the pinned.
define FETCH
set -eu
umask 022
mkdir -p "$$SOURCES"
cd "$$SOURCES"
exec 9>lock
flock 9
[ ! -e "$$DONE" ] || exit 0
from=$$DEPS
if [ -z "$$from" ]; then
	from=$$PWD/tarballs
	mirror=$$("$$TOP/tests/debian-mirror")
	suite=$$(. /etc/os-release && echo "$${VERSION_CODENAME-}")
	case $$suite in bookworm | trixie) ;; *) suite=trixie ;; esac
	rm -rf apt tarballs
	mkdir -p apt/state/lists/partial apt/cache/archives/partial tarballs
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $$mirror $$suite main" >apt/sources.list
	printf '%s;\n' "Dir::State \"$$PWD/apt/state\"" "Dir::State::status \"/dev/null\"" "Dir::Cache \"$$PWD/apt/cache\"" \
		"Dir::Etc::sourcelist \"$$PWD/apt/sources.list\"" 'Dir::Etc::sourceparts "-"' 'Acquire::Languages "none"' \
		'Acquire::Retries "3"' "APT::Sandbox::User \"$$(id -un)\"" >apt/conf
	apt-get -c=apt/conf -qq update
	(cd tarballs && apt-get -c=../apt/conf -qq source --download-only --tar-only $$LIBRARIES)
	rm -rf apt
fi
for library in $$LIBRARIES; do
	found=
	for tarball in "$$from/$$library"_*.orig.tar.*; do
		sum=$$(sha256sum <"$$tarball")
		case " $$PINS " in *" $$library:$${sum%% *} "*) found=$$tarball ;; esac
	done
	[ -n "$$found" ] || { echo "no tarball of $$library in $$from has a SHA-256 pinned in the Makefile" >&2; exit 1; }
	rm -rf "$$library"
	mkdir "$$library"
	tar -x --no-same-owner --strip-components=1 -C "$$library" -f "$$found"
done
rm -f done-*
touch "$$DONE"
endef
export FETCH
DEPS ?=
$(SOURCES_DONE):
	@SOURCES='$(SOURCES)' DONE='$(notdir $@)' DEPS='$(if $(DEPS),$(abspath $(DEPS)))' TOP='$(CURDIR)' LIBRARIES='$(LIBRARIES)' \
		PINS='$(PINS)' sh -c "$$FETCH"
