# SPDX-License-Identifier: MIT
# containerd-fsck. GNU make; everything made lands in $(BUILD).
#
# `make help` lists what there is: each target by the comment behind it, and the lines that begin with "#:".
#
#: DEPS=DIR                  takes the libraries' tarballs from DIR instead of through apt: no network
#: BUILD=build               builds there; two builds at once need two
#: V=1                       prints whole commands
#: LAB_CACHE=build/cache     where tests keep what they fetched and built: containerd, images, guests
#: SEED=text                 what is drawn by lot, of every test that draws; each prints its own
#: FSCK=file                 the binary that tests run, instead of the one in build/
#:
#: long runs that are no target:
#: tests/run GROUP...        groups of the tests, with everything built for them first; REQUIRED=name,name
#: tests/fault/run CASE...   a repair that dies or fails at its changes; POINTS=8, or FAULT_ALL=1, or a share: FAULT_ALL=k/n
#: tests/fault/looks CASE... the same of looks at the disk; POINTS=3, FAULT_ALL as above
#: tests/pairs PAIRS=0       every pair of kinds of damage; VERSIONS= FS= JOBS=
#: tests/hostile/run KIND... stores made to do harm; POINTS=0: all, --table: for tests/RESULTS.md; JOBS=
#: tests/hooks               units and initramfs; SUITES=bookworm,trixie,sid
#: tests/packages            images, recipes, manifests, completion; PART OF A NAME...
#: tests/limits OBJECTS=n    the units' bounds of memory, with n more blobs and snapshots

VERSION := 0.1
BUILD ?= build
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
DESTDIR ?=
POINTS ?= 2
# For another processor: the prefix of its tools, where its musl-dev and linux-libc-dev are unpacked, and what runs its programs.
CROSS ?=
SYSROOT ?=
UNDER ?=
KERNEL_HEADERS ?= $(SYSROOT)/usr/include
Q := $(if $(V),,@)
said = @$(if $(V),:,echo '  $1')
comma := ,

# ---- what we are made of -------------------------------------------------------------------------------------------

MODULES := main opts \
	$(addprefix ground/,base host os_change os_file os_host os_reader os_threads print) \
	$(addprefix format/,bolt bolt_edit bolt_write config cri digest json mend oci path sha2 stream tar) \
	$(addprefix policy/,evidence policy problem) \
	$(addprefix store/,agree files lookup meta_db places snapshotter store this_boot) \
	$(addprefix layer/,compare damage dirs feed init layer rebuild verdict walk) \
	$(addprefix memory/,acks at identity journal own) \
	$(addprefix check/,blobs candidates ingests layers match pool references sources survey wanted) \
	$(addprefix repair/,apply apply_content apply_snapshots commit dockerd fetch forward plan plan_blobs plan_images plan_snapshots records salvage settled staging) \
	$(addprefix session/,boot record record_names scrub seal) \
	$(addprefix tell/,console images json metrics missing progress report runs show sink)
# Where time goes; the rest is small rather than fast.
HOT := format/digest format/sha2
# The same of the libraries: what is not in their inner loops.
SMALL := lib/decompress/zstd_decompress lib/decompress/zstd_ddict lib/common/entropy_common lib/common/error_private \
	lib/common/fse_decompress lib/common/zstd_common inftrees inflate zutil adler32
# And what is nothing else. In zstd vectors are 10 KiB, and measured 1 % at best; its sequences and its checksum are no slower without.
FAST := lib/decompress/huf_decompress inffast crc32
FAST_libzstd := -fno-tree-vectorize

# Debian's orig tarballs, those of Debian 12 and, where it differs, of Debian 13: SHA-256. Only the files named are built.
PIN_zlib    := 71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1 \
               60dd315c07f616887caa029408308a018ace66e3d142726a97db164b3b8f69fb
PIN_libzstd := 8cf4bbb65e77ec348d052c8d6230eba66d435bddf64c8b5be2fcb16880c19953 \
               0c092ef267edce57ba7f3f2645c861f72eaf5e76273c6c3632869423464b90a5
PIN_bearssl := 102a625bd8f6155260867a50c508df8d8c3f796985dd744df1a68e5cd1a79004
LIBRARIES := zlib libzstd bearssl

zlib_FILES := adler32 crc32 inffast inflate inftrees zutil
libzstd_FILES := lib/common/debug lib/common/entropy_common lib/common/error_private lib/common/fse_decompress \
	lib/common/xxhash lib/common/zstd_common lib/decompress/huf_decompress lib/decompress/zstd_ddict \
	lib/decompress/zstd_decompress lib/decompress/zstd_decompress_block
bearssl_FILES := src/codec/dec32be src/codec/dec64be src/codec/enc32be src/codec/enc64be src/hash/sha2big src/hash/sha2small

SOURCES := $(BUILD)/deps
# Z_SOLO leaves zlib without limits.h and string.h, and then without its word-wise CRC and with a memcpy of its own; a CRC of words of
# four bytes takes half the tables and no longer. zstd: one copy of each decoder; those for BMI2, for far offsets and for two symbols at a
# time are 61 KiB more and measured no faster, nor is code that begins at round addresses. Its memory is given to it (stream.c): nothing here allocates, and libc's malloc is 7 KiB.
LIB_FLAGS := -w -fno-align-functions -fno-align-loops -fno-align-jumps -fno-align-labels -DZ_SOLO -DDYNAMIC_CRC_TABLE -DBUILDFIXED -DHAVE_MEMCPY -include string.h -DZ_U4=__UINT32_TYPE__ -DZ_U8=__UINT64_TYPE__ -DZ_TESTW=4 -DZSTD_DISABLE_ASM=1 \
	-DDYNAMIC_BMI2=0 -DHUF_FORCE_DECOMPRESS_X1 -DZSTD_FORCE_DECOMPRESS_SEQUENCES_SHORT -DZSTD_LEGACY_SUPPORT=0 -DZSTD_TRACE=0 -DZSTD_STRIP_ERROR_STRINGS=1 \
	-DZSTD_DEPS_MALLOC '-DZSTD_malloc(n)=(void *)0' '-DZSTD_calloc(n,m)=(void *)0' '-DZSTD_free(p)=(void)0' -DXXH_NAMESPACE=ZSTD_ -DDEBUGLEVEL=0 -I$(SOURCES)/bearssl/inc -I$(SOURCES)/bearssl/src
OUR_FLAGS := -std=c11 -D_GNU_SOURCE -DPROGRAM_VERSION='"$(VERSION)"' -Istage -isystem $(SOURCES)/zlib \
	-isystem $(SOURCES)/libzstd/lib -isystem $(SOURCES)/bearssl/inc
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wswitch-enum -Wvla -Wformat=2 -Werror

# ---- the same code for several purposes ----------------------------------------------------------------------------

# musl: what is installed, where Debian, Arch and Fedora have it. Where cc is musl's own: MUSL_CC=gcc MUSL_LIB=/usr/lib
MACHINE := $(firstword $(subst -, ,$(shell $(CROSS)gcc -dumpmachine)))
MUSL_LIB := $(firstword $(wildcard $(SYSROOT)/usr/lib/$(MACHINE)-linux-musl /usr/lib/musl/lib /usr/$(MACHINE)-linux-musl/lib64 /usr/$(MACHINE)-linux-musl/lib))
MUSL_CC := $(if $(CROSS),$(CROSS)gcc -specs $(MUSL_LIB)/musl-gcc.specs,musl-gcc)
MUSL_CFLAGS := -O2 -fno-tree-vectorize -fPIE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -fno-unwind-tables \
	-fstack-protector $(if $(filter x86_64,$(MACHINE)),-malign-data=abi) '-ffile-prefix-map=$(CURDIR)=.' -idirafter $(BUILD)/kernel
# host: the machine's own libc, with every check the compiler has. Tests run on these.
HOST_CC := $(CROSS)gcc
SANITIZE := -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
HOST_CFLAGS := -O1 $(SANITIZE)
# fuzz: as host, by the compiler that sees other things (an offset from a null pointer), and counted for libFuzzer.
FUZZ_CC := clang
FUZZ_CFLAGS := -O1 $(SANITIZE) -fsanitize=fuzzer-no-link
# and each step of the code is told to who counts (tests/fuzz/steps.h)
FUZZ_STEPS := -fsanitize-coverage=trace-pc-guard

# of a variant: all of ours but main, and the libraries'
library_objects = $(foreach l,zlib libzstd bearssl,$(patsubst %,$(BUILD)/$1/$l/%.o,$($l_FILES)))
our_objects = $(patsubst %,$(BUILD)/$1/stage/%.o,$(filter-out main,$(MODULES)))

MUSL_OBJECTS := $(patsubst %,$(BUILD)/musl/stage/%.o,$(MODULES)) $(call library_objects,musl)

SHELLS := bash zsh fish
COMPLETIONS := $(SHELLS:%=$(BUILD)/completion.%)

all: $(BUILD)/containerd-fsck $(BUILD)/containerd-fsck.8 $(COMPLETIONS) ## build/containerd-fsck, one static binary, and its manual page

# The pins are part of the name, so that changing one fetches again.
PINS := $(foreach l,$(LIBRARIES),$(patsubst %,$l:%,$(PIN_$l)))
SOURCES_DONE := $(SOURCES)/done-$(firstword $(shell echo '$(PINS)' | cksum))

define variant
$(BUILD)/$1/stage/%.o: stage/%.c Makefile $(SOURCES_DONE)
	@mkdir -p $$(@D)
	$$(call said,$1 $$<)
	$(Q)$2 $(OUR_FLAGS) $(WARNINGS) $3 $5 $$(if $$(filter $$*,$(HOT)),,$4) -MMD -MP -c -o $$@ $$<
$(call library_objects,$1): $(BUILD)/$1/%.o: $(SOURCES_DONE) Makefile
	@mkdir -p $$(@D)
	$$(call said,$1 $$*.c)
	$(Q)$2 $(LIB_FLAGS) $3 $$(if $$(filter $(addprefix %/,$(SMALL)),$$*),$4) $$(if $$(filter $(addprefix %/,$(FAST)),$$*),-O3 $$(FAST_$$(firstword $$(subst /, ,$$*)))) -c -o $$@ $(SOURCES)/$$*.c
-include $$(patsubst %,$(BUILD)/$1/stage/%.d,$(MODULES))
endef
# What is small rather than fast. The modules see into each other when they are linked: 8 KiB less. Beside that they are common objects, for what must not.
COMPACT := -Oz -fno-if-conversion -fno-schedule-insns2 -fno-tree-dominator-opts -fno-tree-sra -fno-move-loop-invariants -fno-caller-saves -fno-tree-loop-im -fno-tree-coalesce-vars \
	-fno-thread-jumps -fno-tree-vrp -fno-shrink-wrap -fno-expensive-optimizations -fno-ipa-sra -fno-inline-small-functions -fno-ivopts -fno-partial-inlining -fno-tree-ch -fno-tree-tail-merge -fno-tree-fre \
	--param=large-stack-frame=64 --param=large-stack-frame-growth=10
$(eval $(call variant,musl,$(MUSL_CC),$(MUSL_CFLAGS),$(COMPACT),-flto -ffat-lto-objects))
$(eval $(call variant,host,$(HOST_CC),$(HOST_CFLAGS)))
$(eval $(call variant,fuzz,$(FUZZ_CC),$(FUZZ_CFLAGS) $(FUZZ_STEPS)))

# musl's headers come without the kernel's
$(patsubst %,$(BUILD)/musl/stage/%.o,$(filter ground/os_%,$(MODULES))): | $(BUILD)/kernel
$(BUILD)/kernel:
	@mkdir -p $@
	@ln -sfn $(KERNEL_HEADERS)/linux $@/linux
	@ln -sfn $(KERNEL_HEADERS)/asm-generic $@/asm-generic
	@ln -sfn $(KERNEL_HEADERS)/$$($(CROSS)gcc -print-multiarch)/asm $@/asm

# ---- linking -------------------------------------------------------------------------------------------------------

# musl-gcc knows no -static-pie: the start files are named here, and its own left out.
ifneq ($(wildcard $(MUSL_LIB)/rcrt1.o),)
MUSL_LINK := -nostartfiles -Wl,-static,-pie,--no-dynamic-linker,-z,text
# Not the compiler's crtbeginS.o and crtendS.o: they are for C++ and for libraries.
MUSL_BEGIN := $(MUSL_LIB)/rcrt1.o $(MUSL_LIB)/crti.o
MUSL_END := $(MUSL_LIB)/crtn.o
else
MUSL_LINK := -static
endif
# Nothing unwinds its stack: what musl and the start files have for that is 4 KiB. Sections that need not be apart are together: each
# takes a header of 64 bytes, and its name.
WITHOUT_FRAMES := $(BUILD)/musl/without-frames.ld
$(WITHOUT_FRAMES): Makefile
	@mkdir -p $(@D)
	@echo 'SECTIONS { /DISCARD/ : { *(.eh_frame) }' >$@
	@echo '.text : { KEEP(*(SORT_NONE(.init))) KEEP(*(SORT_NONE(.fini))) *(.text .text.*) } } INSERT AFTER .rodata;' >>$@
	@echo 'SECTIONS { .got : { *(.got) *(.got.plt) *(.data.rel.ro .data.rel.ro.*) *(.data .data.*) } } INSERT AFTER .dynamic;' >>$@
# noseparate-code: without pages of nothing between code and constants, 12 KiB of file. norelro: musl makes nothing read-only again in a
# static program (1.2.3: ldso/dlstart.c, src/env/__init_tls.c), so that a promise of it is a false word. common-page-size: no rounding of the file up to pages, 4 KiB.
# defsym: zstd 1.5 unpacks a frame that it has whole by other code, and knows dictionaries, of which stream.c has none: 3 KiB (stream.h).
NEVER := ZSTD_findFrameCompressedSize ZSTD_decompress_usingDDict ZSTD_XXH64
MUSL_LDFLAGS := $(MUSL_LINK) $(NEVER:%=-Wl,--defsym=%=stream_never) -Wl,--gc-sections,--build-id=none,--hash-style=sysv,-z,norelro,-z,common-page-size=32,-z,now,-z,noexecstack,-z,noseparate-code

$(BUILD)/containerd-fsck.full: $(MUSL_OBJECTS) $(WITHOUT_FRAMES)
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) -Wl,-T,$(WITHOUT_FRAMES) -flto=auto -flto-partition=one $(filter --param%,$(COMPACT)) -o $@ $(MUSL_BEGIN) $(MUSL_OBJECTS) -lgcc -lc $(MUSL_END)
# who takes how much: of a program whose modules are linked one by one
$(BUILD)/containerd-fsck.full.map: $(MUSL_OBJECTS)
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) -fno-lto -Wl,-Map=$@ -o $(BUILD)/musl/parts $(MUSL_BEGIN) $(MUSL_OBJECTS) -lgcc -lc $(MUSL_END)
$(BUILD)/containerd-fsck: $(BUILD)/containerd-fsck.full
	$(Q)$(CROSS)strip --strip-all -R .comment -R .note.gnu.property -o $@ $<

$(BUILD)/containerd-fsck-asan: $(patsubst %,$(BUILD)/host/stage/%.o,$(MODULES)) $(call library_objects,host)
	$(Q)$(HOST_CC) $(HOST_CFLAGS) -o $@ $^ -lpthread

# The fuzzers' objects: where nobody counts, that is a call to nothing.
$(BUILD)/containerd-fsck-clang: $(patsubst %,$(BUILD)/fuzz/stage/%.o,$(MODULES)) $(call library_objects,fuzz)
	$(Q)$(FUZZ_CC) -O1 $(SANITIZE) -o $@ $^ -lpthread

# The objects of the binary, each change of the disk through tests/fault/wrap.c, and each look at it through look.c.
CHANGES := mkdirat openat pwrite ftruncate fsync syncfs mount renameat unlinkat linkat symlinkat mknodat fchownat \
	lsetxattr lremovexattr syscall
LOOKS := $(shell sed -n 's/^LOOK.\([a-z_]*\),.*/os_\1/p' tests/fault/look.c) os_small_take os_src
WRAPPED := $(addprefix -Wl$(comma)--wrap=,os_clock_ns os_note mmap mprotect $(CHANGES) $(LOOKS)) $(shell sed -n 's/^CHECKED enum rc \(os_[a-z_]*\).*/-Wl,--wrap=\1/p' stage/ground/os_write.h)
$(BUILD)/musl/look.o: tests/fault/look.c stage/ground/os.h stage/ground/base.h Makefile
	@mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(OUR_FLAGS) $(WARNINGS) $(MUSL_CFLAGS) -c -o $@ $<
$(BUILD)/musl/wrap.o: tests/fault/wrap.c stage/ground/os_write.h stage/ground/base.h Makefile
	@mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(OUR_FLAGS) $(WARNINGS) $(MUSL_CFLAGS) -c -o $@ $<
$(BUILD)/musl/descriptors.o: tests/fault/descriptors.c Makefile
	@mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(OUR_FLAGS) $(WARNINGS) $(MUSL_CFLAGS) -c -o $@ $<
$(BUILD)/containerd-fsck-fault: $(MUSL_OBJECTS) $(BUILD)/musl/wrap.o $(BUILD)/musl/look.o $(BUILD)/musl/descriptors.o
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) -fno-lto $(WRAPPED) -o $@ $(MUSL_BEGIN) $^ -lgcc -lc $(MUSL_END)

# What tests/vectors/verify.c is, of the objects that the binary is made of: a call takes a tenth of what it takes with the sanitizers.
$(BUILD)/musl/verify.o: tests/vectors/verify.c $(wildcard stage/*/*.h) Makefile
	@mkdir -p $(@D)
	$(Q)$(MUSL_CC) $(OUR_FLAGS) $(WARNINGS) $(MUSL_CFLAGS) -Istage -c -o $@ $<
$(BUILD)/verify-musl: $(filter-out %/main.o,$(MUSL_OBJECTS)) $(BUILD)/musl/verify.o
	$(Q)$(MUSL_CC) $(MUSL_LDFLAGS) -fno-lto -o $@ $(MUSL_BEGIN) $^ -lgcc -lc $(MUSL_END)

HOST_LIB := $(BUILD)/host/stage.a
$(HOST_LIB): $(call our_objects,host) $(call library_objects,host)
FUZZ_LIB := $(BUILD)/fuzz/stage.a
$(FUZZ_LIB): $(call our_objects,fuzz) $(call library_objects,fuzz)
$(HOST_LIB) $(FUZZ_LIB):
	@rm -f $@
	$(Q)ar rcs $@ $^

# The manual page; its problem list is the problem table.
define MANUAL
function strings(s,   out) {
	while (match(s, /"([^"\\]|\\.)*"/)) {
		out = out substr(s, RSTART + 1, RLENGTH - 2)
		s = substr(s, RSTART + RLENGTH)
	}
	gsub(/\\"/, "\"", out)
	gsub(/\\/, "\\e", out)
	gsub(/\. /, ".\n", out)
	return out
}
/^PROBLEM\(/ { split($$0, head, /[(, ]+/); meaning = ""; inside = 1; next }
inside == 1 { message = $$0; sub(/,$$/, "", message); inside = 2; next }
inside {
	meaning = meaning $$0
	if (/\)$$/) {
		harm = head[4] == "STALE" ? "leftover" : tolower(head[4])
		list = list ".It Li " head[3] " " head[2] " (" harm ")\n" strings(message) ".\n.br\n" strings(meaning) "\n"
		inside = 0
	}
}
FNR != NR && /@PROBLEMS@/ { printf ".Bl -tag -width Ds\n%s.El\n", list; next }
FNR != NR
endef
export MANUAL
$(BUILD)/containerd-fsck.8: stage/containerd-fsck.8 stage/policy/problem.def Makefile
	@mkdir -p $(@D)
	$(Q)awk "$$MANUAL" stage/policy/problem.def stage/containerd-fsck.8 >$@

# What shells complete; commands and options are those of --help.
$(COMPLETIONS): $(BUILD)/completion.%: stage/opts.c hooks/completion/generate.awk
	@mkdir -p $(@D)
	$(Q)awk -v shell=$* -f hooks/completion/generate.awk stage/opts.c >$@.new && mv $@.new $@

help: ## this list
	@awk -F' ## ' '/^[a-z0-9-]+:.* ## / { sub(/:.*/, "", $$1); printf "  %-25s %s\n", $$1, $$2 } \
		/^#:/ { sub(/^#: ?/, "  "); more = more $$0 "\n" } END { printf "\n%s", more }' $(firstword $(MAKEFILE_LIST))

# Debian's zsh looks below /usr into vendor-completions
ZSH_COMPLETIONS ?= $(PREFIX)/share/zsh/site-functions
install: all ## binary, manual pages, completion for shells; DESTDIR= PREFIX=/usr/local SBINDIR=PREFIX/sbin
	install -D -m 755 $(BUILD)/containerd-fsck '$(DESTDIR)$(SBINDIR)/containerd-fsck'
	ln -sfn containerd-fsck '$(DESTDIR)$(SBINDIR)/fsck.containerd'
	install -D -m 644 $(BUILD)/containerd-fsck.8 '$(DESTDIR)$(PREFIX)/share/man/man8/containerd-fsck.8'
	ln -sfn containerd-fsck.8 '$(DESTDIR)$(PREFIX)/share/man/man8/fsck.containerd.8'
	install -D -m 644 stage/containerd-fsck-journal.5 '$(DESTDIR)$(PREFIX)/share/man/man5/containerd-fsck-journal.5'
	install -D -m 644 $(BUILD)/completion.bash '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/containerd-fsck'
	ln -sfn containerd-fsck '$(DESTDIR)$(PREFIX)/share/bash-completion/completions/fsck.containerd'
	install -D -m 644 $(BUILD)/completion.zsh '$(DESTDIR)$(ZSH_COMPLETIONS)/_containerd-fsck'
	install -D -m 644 $(BUILD)/completion.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/containerd-fsck.fish'
	ln -sfn containerd-fsck.fish '$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/fsck.containerd.fish'

# What starts it: hooks/ and dracut/, which name /usr/sbin/containerd-fsck. Each of these installs files and no more.
SYSTEMD_UNITS ?= /usr/lib/systemd/system
SYSTEMD_CATALOG ?= /usr/lib/systemd/catalog
SYSTEMD_PRESETS ?= /usr/lib/systemd/system-preset
OPENRC ?= /etc
MOTD ?= /etc/update-motd.d
DRACUT_MODULES ?= /usr/lib/dracut/modules.d
INITRAMFS_TOOLS ?= /usr/share/initramfs-tools
MKINITCPIO ?= /usr/lib/initcpio
EXAMPLES := $(PREFIX)/share/doc/containerd-fsck/examples
# whose units open a store; k3s- and rke2- are all whose names begin so
CONSUMERS := containerd docker host-containerd k3s k3s- rke2- k0scontroller k0sworker snap.microk8s.daemon-containerd
# $1 from, $2 to, $3 mode
define hook
install -d '$(DESTDIR)$(dir $2)'
sed 's|/usr/sbin/containerd-fsck|$(SBINDIR)/containerd-fsck|g' $1 >'$(DESTDIR)$2'
chmod $3 '$(DESTDIR)$2'

endef
install-systemd: ## what starts it at boot, with the root mounted; SYSTEMD_UNITS=
	$(call hook,hooks/systemd/containerd-fsck.service,$(SYSTEMD_UNITS)/containerd-fsck.service,644)
	$(call hook,hooks/systemd/containerd-fsck@.service,$(SYSTEMD_UNITS)/containerd-fsck@.service,644)
	$(foreach u,record.service scrub.service scrub.timer,$(call hook,hooks/systemd/containerd-fsck-$u,$(SYSTEMD_UNITS)/containerd-fsck-$u,644))
	$(call hook,hooks/systemd/containerd-fsck.catalog,$(SYSTEMD_CATALOG)/containerd-fsck.catalog,644)
	$(call hook,hooks/systemd/containerd-fsck.preset,$(SYSTEMD_PRESETS)/80-containerd-fsck.preset,644)
	install -d '$(DESTDIR)$(SYSTEMD_UNITS)/multi-user.target.wants'
	ln -sfn ../containerd-fsck.service '$(DESTDIR)$(SYSTEMD_UNITS)/multi-user.target.wants/containerd-fsck.service'
	$(foreach c,$(CONSUMERS),$(call hook,hooks/systemd/consumer.conf,$(SYSTEMD_UNITS)/$c.service.d/10-containerd-fsck.conf,644))
	$(call hook,hooks/systemd/halt.conf,$(EXAMPLES)/halt/containerd-fsck.service.d/20-halt.conf,644)
	$(foreach c,$(CONSUMERS),$(call hook,hooks/systemd/halt-consumer.conf,$(EXAMPLES)/halt/$c.service.d/20-containerd-fsck-halt.conf,644))
install-dracut: ## the same in an initramfs, off until asked for; DRACUT_MODULES=
	$(foreach f,module-setup.sh containerd-fsck.sh,$(call hook,dracut/55containerd-fsck/$f,$(DRACUT_MODULES)/55containerd-fsck/$f,755))
	$(call hook,dracut/55containerd-fsck/containerd-fsck-initrd.service,$(DRACUT_MODULES)/55containerd-fsck/containerd-fsck-initrd.service,644)
	$(call hook,dracut/90-containerd-fsck.conf,$(EXAMPLES)/dracut/90-containerd-fsck.conf,644)
install-initramfs-tools: ## the same; INITRAMFS_TOOLS=
	$(call hook,hooks/initramfs-tools/hook,$(INITRAMFS_TOOLS)/hooks/containerd-fsck,755)
	$(call hook,hooks/initramfs-tools/init-bottom,$(INITRAMFS_TOOLS)/scripts/init-bottom/containerd-fsck,755)
install-mkinitcpio: ## the same; MKINITCPIO=
	$(call hook,hooks/mkinitcpio/install,$(MKINITCPIO)/install/containerd-fsck,755)
	$(call hook,hooks/mkinitcpio/hook,$(MKINITCPIO)/hooks/containerd-fsck,644)
	$(call hook,hooks/mkinitcpio/sd-install,$(MKINITCPIO)/install/sd-containerd-fsck,755)
	$(call hook,dracut/55containerd-fsck/containerd-fsck-initrd.service,$(SYSTEMD_UNITS)/containerd-fsck-initrd.service,644)
# Examples, which whoever runs these programs copies or names in their configuration.
install-prometheus: ## alert rules and a dashboard over the metrics; EXAMPLES=
	$(foreach f,rules.yml dashboard.json,$(call hook,hooks/prometheus/containerd-fsck.$f,$(EXAMPLES)/prometheus/containerd-fsck.$f,644))
install-node-problem-detector: ## a condition of the node by containerd-fsck status; EXAMPLES=
	$(call hook,hooks/node-problem-detector/containerd-fsck.json,$(EXAMPLES)/node-problem-detector/containerd-fsck.json,644)
install-openrc: ## what starts it at boot with OpenRC; OPENRC=/etc
	$(call hook,hooks/openrc/containerd-fsck.initd,$(OPENRC)/init.d/containerd-fsck,755)
	$(call hook,hooks/openrc/containerd-fsck.confd,$(OPENRC)/conf.d/containerd-fsck,644)
install-motd: ## a line at login where the boot repaired or left something; MOTD=/etc/update-motd.d
	$(call hook,hooks/motd/containerd-fsck,$(MOTD)/90-containerd-fsck,755)
deb: all ## a Debian package of what goes with systemd; hooks/ has recipes for others: rpm, arch, alpine, nix, buildroot, yocto
	@hooks/debian/build $(BUILD)
image: all ## an OCI image with the binary alone, as an archive: hooks/oci/build, hooks/kubernetes
	@hooks/oci/build $(BUILD) $(VERSION) $(MACHINE)
sysext: all ## a system extension, for systems whose /usr is read-only: hooks/sysext/build
	@hooks/sysext/build $(BUILD) $(VERSION) $(MACHINE)
RELEASED = $$(sed -n 's/^ -- .*>  //p' hooks/debian/changelog | head -n 1)
dist: ## the sources as a tarball, which the recipes in hooks/ begin with
	@mkdir -p $(BUILD)
	$(Q)tar -c -f $(BUILD)/containerd-fsck-$(VERSION).tar.gz -I 'gzip -9n' --format=ustar --sort=name --mtime="$(RELEASED)" --owner=0 --group=0 --numeric-owner \
		--mode=go=rX,u+rw,a-s --exclude=__pycache__ --transform='s,^,containerd-fsck-$(VERSION)/,' LICENSE Makefile README.md dracut hooks qemu stage tests

size: $(BUILD)/containerd-fsck $(BUILD)/containerd-fsck.full.map ## the binary's size and its parts
	@tests/size $<

# ---- tests ---------------------------------------------------------------------------------------------------------

# Only test and demo install what is missing; with it, root and Debian all of this runs.
test: ## every test, with what it needs installed (Debian, root); the last line is the count
	@tests/run

demo: tests-need ## the report this tool was born from, with real containerd; VERSION= FS= WAIT=
	@tests/demo
crash: tests-need ## power cuts, repaired and compared; POINTS=2 (40: half an hour) VERSIONS= FS= RESULTS=file
	@tests/crash POINTS=$(POINTS)
crash-record: tests-need ## power cuts with and without the recorder; POINTS=2
	@tests/record ONLY=cuts RECORDER=off,on VERSIONS=1.6,1.7,2 SCALE=1 POINTS=$(POINTS)
	@tests/record ONLY=cuts RECORDER=off,on VERSIONS=2 FS=ext4,xfs LARGE=1024 POINTS=$(POINTS)
healthy: tests-need ## false positives: stores that were cleanly stopped; VERSIONS= FS=
	@tests/healthy
databases: tests-need ## each page of real databases broken in every way, repaired, and containerd started; DATABASE_POINTS=0 VERSIONS= FS=
	@tests/databases POINTS=$(or $(DATABASE_POINTS),0)
bench: tests-need ## what a boot, a check, the recorder and their memory cost
	@tests/install-build-deps test
	@tests/bench
	@tests/limits OBJECTS=10000
	@tests/bench-record
	@tests/bench-verify
arm64: ## builds for arm64, and runs unit and golden tests under qemu-user: ten minutes
	@tests/arm64
qemu: tests-need ## power cuts of a virtual machine; CASE=name, or all (an hour and a half); PATIENCE=
	@qemu/run $(CASE)
tests-need: ## what tests need of Debian and of the network, and the binary
	@tests/install-build-deps build
	@tests/lab/deps
	@$(MAKE) --no-print-directory all

HAVE_CLANG = $(shell command -v $(FUZZ_CC))
check: all $(BUILD)/containerd-fsck-asan $(BUILD)/containerd-fsck-fault lint unit $(if $(HAVE_CLANG),$(BUILD)/containerd-fsck-clang unit-clang) ## the tests that need nothing: lint, unit, golden, faults; POINTS=8 FAULT_ALL=
	FSCK=$(abspath $(BUILD)/containerd-fsck-asan) tests/golden/run --quick
	$(if $(HAVE_CLANG),FSCK=$(abspath $(BUILD)/containerd-fsck-clang) tests/golden/run --quick,@echo 'skip - unit and golden tests with $(FUZZ_CC): it is not here')
	FSCK_FAULT=$(abspath $(BUILD)/containerd-fsck-fault) tests/fault/run
	FSCK_FAULT=$(abspath $(BUILD)/containerd-fsck-fault) tests/fault/looks
	FSCK=$(abspath $(BUILD)/containerd-fsck) tests/golden/run --quick

# tests/unit/test_x.c, each against all of stage/ but main; with gcc, and with clang
UNITS := $(patsubst tests/unit/test_%.c,$(BUILD)/unit/test_%,$(sort $(wildcard tests/unit/test_*.c)))
$(BUILD)/unit/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(HOST_LIB)
	@mkdir -p $(@D)
	$(call said,unit $<)
	$(Q)$(HOST_CC) $(OUR_FLAGS) $(WARNINGS) $(HOST_CFLAGS) $(WRAPPED_$*) -o $@ $< $(HOST_LIB) -lpthread
$(BUILD)/unit-clang/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(call said,unit-clang $<)
	$(Q)$(FUZZ_CC) $(OUR_FLAGS) $(WARNINGS) -Wno-string-conversion -O1 $(SANITIZE) $(WRAPPED_$*) -o $@ $< $(FUZZ_LIB) -lpthread
# each of these calls is a step of its model
WRAPPED_test_record := $(addprefix -Xlinker --wrap=os_,syncfs fsync write read open_file stat stat_fd list watch read_events wait sleep_ms \
	clock_ns)
WRAPPED_test_os := -Xlinker --wrap=syscall
WRAPPED_test_layer := -Xlinker --wrap=os_open_dir
WRAPPED_test_store := -Xlinker --wrap=os_list
WRAPPED_test_host := $(addprefix -Xlinker --wrap=os_,read_link list open_dir read_proc)
run_units = @status=0; for test in $1; do $(UNDER) $$test || { status=1; echo "not ok - $$test ended with $$?"; }; done; exit $$status
unit: $(UNITS) ## unit tests, with the sanitizers of gcc
	$(call run_units,$(UNITS))
unit-clang: $(UNITS:$(BUILD)/unit/%=$(BUILD)/unit-clang/%) ## the same of clang
	$(call run_units,$^)

# Tools of the tests, written in C: tests/x/y.c becomes $(BUILD)/tool/x/y
$(BUILD)/tool/%: tests/%.c $(HOST_LIB)
	@mkdir -p $(@D)
	$(call said,tool $<)
	$(Q)$(HOST_CC) $(OUR_FLAGS) $(WARNINGS) $(HOST_CFLAGS) -o $@ $< $(HOST_LIB) -lpthread

# tests/fuzz/x.c, from what tests/corpus/x holds, or make_seeds makes, and what earlier runs found in $(BUILD)/fuzz-found
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzzer/%,$(sort $(wildcard tests/fuzz/*.c)))
FUZZ_SECONDS ?= 60
# who answers for the machine
WRAPPED_fuzz_host := $(addprefix -Xlinker --wrap=os_,read_proc read_small exists open_root open_dir list read_link stat_fd stat)
WRAPPED_fuzz_store := $(addprefix -Xlinker --wrap=host_,look has_shims started_ns)
COUNTED := -Wl,--wrap=__sanitizer_cov_trace_pc_guard,--wrap=__sanitizer_cov_trace_pc_guard_init
$(BUILD)/fuzzer/%: tests/fuzz/%.c $(wildcard tests/fuzz/*.h tests/unit/*_file.h) $(FUZZ_LIB)
	@mkdir -p $(@D)
	$(call said,fuzz $<)
	$(Q)$(FUZZ_CC) $(OUR_FLAGS) $(WARNINGS) -Wno-string-conversion $(FUZZ_CFLAGS) -fsanitize=fuzzer $(COUNTED) $(WRAPPED_fuzz_$*) -o $@ $< $(FUZZ_LIB) -lpthread
fuzz: $(FUZZERS) ## each target of tests/fuzz for FUZZ_SECONDS=60; finds stay in build/fuzz-found
	@rm -rf $(BUILD)/fuzz-seeds && tests/corpus/make_seeds $(BUILD)/fuzz-seeds
	@status=0; for fuzzer in $(FUZZERS); do name=$${fuzzer##*/}; found=$(BUILD)/fuzz-found/$$name; mkdir -p $$found/new; \
	if $$fuzzer -max_total_time=$(FUZZ_SECONDS) -timeout=300 -rss_limit_mb=3000 -print_final_stats=0 -verbosity=0 \
		-artifact_prefix=$$found/ $$found/new $$(find tests/corpus/$$name $(BUILD)/fuzz-seeds/$$name -maxdepth 0 2>/dev/null) >$$found/log 2>&1; \
	then echo "ok - fuzz $$name, $(FUZZ_SECONDS) s"; \
	else status=1; tail -n 40 $$found/log; echo "not ok - fuzz $$name: see $$found"; fi; done; exit $$status

lint: $(BUILD)/containerd-fsck.8 ## all that can be said about the sources without running them
	@BUILD=$(BUILD) tests/lint/run
OUR_SOURCES := $(patsubst %,stage/%.c,$(MODULES)) $(wildcard tests/unit/*.c tests/fault/*.c tests/vectors/*.c tests/fuzz/*.c)
syntax-clang: $(SOURCES_DONE) ## warnings of clang
	@status=0; for f in $(OUR_SOURCES); do \
	clang -fsyntax-only $(OUR_FLAGS) $(WARNINGS) -Wno-string-conversion $$f || status=1; done; exit $$status
TIDIED := $(patsubst stage/%.c,tidy-%,$(filter stage/%,$(OUR_SOURCES)))
tidy: $(TIDIED) ## clang-tidy
$(TIDIED): tidy-%: stage/%.c $(SOURCES_DONE)
	$(Q)clang-tidy --quiet $< -- $(OUR_FLAGS)

clean: ## removes what was built, but for sources and caches
	rm -rf $(addprefix $(BUILD)/,musl host fuzz unit unit-clang tool fuzzer fuzz-found fuzz-seeds kernel completion.* containerd-fsck*)

.SECONDARY:
.PHONY: all databases help install install-systemd install-dracut install-initramfs-tools install-mkinitcpio install-prometheus install-node-problem-detector install-openrc install-motd deb image sysext dist size test demo crash crash-record healthy bench arm64 qemu tests-need check unit unit-clang fuzz lint syntax-clang tidy clean

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
case $$DEPS in
'' | /*) from=$$DEPS ;;
*) from=$$TOP/$$DEPS ;;
esac
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
		[ -e "$$tarball" ] || continue
		sum=$$(sha256sum <"$$tarball")
		case " $$PINS " in *" $$library:$${sum%% *} "*) found=$$tarball ;; esac
	done
	[ -n "$$found" ] || { echo "no tarball of $$library in $$from has a SHA-256 pinned in the Makefile" >&2; exit 1; }
	rm -rf "$$library"
	mkdir "$$library"
	tar -x --no-same-owner --strip-components=1 -C "$$library" -f "$$found"
	mkdir -p tarballs
	[ "$$from" -ef tarballs ] || cp "$$found" tarballs/
done
rm -f done-*
touch "$$DONE"
endef
export FETCH
DEPS ?=
$(SOURCES_DONE):
	@SOURCES='$(SOURCES)' DONE='$(notdir $@)' DEPS='$(DEPS)' TOP='$(CURDIR)' LIBRARIES='$(LIBRARIES)' \
		PINS='$(PINS)' sh -c "$$FETCH"
