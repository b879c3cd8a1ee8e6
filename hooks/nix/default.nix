# SPDX-License-Identifier: MIT
# For nixpkgs and NixOS: pkgs.callPackage ./hooks/nix { }; the module that starts it at boot is module.nix beside this file.
# tests/packages has Debian's nix parse and evaluate both; it is not built there.
{ pkgs ? import <nixpkgs> { }
, lib ? pkgs.lib
, stdenv ? pkgs.stdenv
, musl ? pkgs.musl
, fetchurl ? pkgs.fetchurl
, linuxHeaders ? pkgs.linuxHeaders
}:

let
  # Debian's tarballs, as the Makefile pins them
  tarball = path: sha256: fetchurl {
    url = "mirror://debian/pool/main/${path}";
    inherit sha256;
  };
  zlib = tarball "z/zlib/zlib_1.2.13.dfsg.orig.tar.bz2" "71feb7947e3c00ef125f83b79a4e529bde31171e5babe48b391f06758d1ab0a1";
  libzstd = tarball "libz/libzstd/libzstd_1.5.4+dfsg2.orig.tar.xz" "8cf4bbb65e77ec348d052c8d6230eba66d435bddf64c8b5be2fcb16880c19953";
  bearssl = tarball "b/bearssl/bearssl_0.6+dfsg.1.orig.tar.xz" "102a625bd8f6155260867a50c508df8d8c3f796985dd744df1a68e5cd1a79004";
in
stdenv.mkDerivation rec {
  pname = "containerd-fsck";
  version = "0.1";
  src = lib.cleanSource ../..;
  nativeBuildInputs = [ pkgs.bzip2 pkgs.xz pkgs.util-linux ];
  hardeningDisable = [ "all" ]; # the Makefile says which it takes
  preBuild = ''
    mkdir tarballs
    cp ${zlib} tarballs/zlib_1.orig.tar.bz2
    cp ${libzstd} tarballs/libzstd_1.orig.tar.xz
    cp ${bearssl} tarballs/bearssl_0.orig.tar.xz
  '';
  makeFlags = [
    "DEPS=tarballs"
    "MUSL_CC=${lib.getDev musl}/bin/musl-gcc"
    "MUSL_LIB=${lib.getLib musl}/lib"
    "KERNEL_HEADERS=${linuxHeaders}/include"
    "PREFIX=${placeholder "out"}"
    "SBINDIR=${placeholder "out"}/bin"
    "SYSTEMD_UNITS=${placeholder "out"}/lib/systemd/system"
    "SYSTEMD_CATALOG=${placeholder "out"}/lib/systemd/catalog"
    "SYSTEMD_PRESETS=${placeholder "out"}/lib/systemd/system-preset"
  ];
  installTargets = [ "install" "install-systemd" ];
  dontStrip = true;
  meta = {
    description = "Checks and repairs containerd's store after a power cut";
    license = with lib.licenses; [ mit zlib bsd3 ];
    platforms = lib.platforms.linux;
    mainProgram = "containerd-fsck";
  };
}
