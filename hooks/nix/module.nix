# SPDX-License-Identifier: MIT
# For NixOS: imports = [ ./hooks/nix/module.nix ]; services.containerd-fsck.enable = true;
# The units are those of hooks/systemd, with the drop-ins that put them before containerd.
{ config, lib, pkgs, ... }:

let
  cfg = config.services.containerd-fsck;
in
{
  options.services.containerd-fsck = {
    enable = lib.mkEnableOption "the check of container stores before containerd starts";
    record = lib.mkEnableOption "the recorder beside containerd, so that a power cut costs seconds";
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./default.nix { };
      description = "The package to use.";
    };
  };

  config = lib.mkIf cfg.enable {
    environment.systemPackages = [ cfg.package ];
    systemd.packages = [ cfg.package ];
    # NixOS takes no links of packages' .wants
    systemd.services.containerd-fsck.wantedBy = [ "multi-user.target" ];
    systemd.services.containerd-fsck-record = lib.mkIf cfg.record { wantedBy = [ "multi-user.target" ]; };
  };
}
