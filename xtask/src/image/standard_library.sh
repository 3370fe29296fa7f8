# Compiles std for the target $1 from the source in the image, into /out/lib.
#
# No network and no libc of the target is needed. `test` is for the unit tests of plugins. The
# symbolizer of backtraces is left out: plugins are stripped, so it has nothing to look up, and would be
# a sixth of the library.
#
# One codegen unit, as in rustc's own releases: a quarter less to compile than 16 that are optimized
# across, and no slower in what is made of it. What only tests and proc macros link is not optimized.
set -eu
target=$1
source=$(readlink -f /usr/lib/rustlib/src/rust)/library
mkdir -p /out/empty/src /out/lib /out/cargo

# Where rustc runs, proc macros do.
case $(rustc -vV) in
*"host: $target"*) proc_macro=3 ;;
*) proc_macro=0 ;;
esac

cat > /out/empty/Cargo.toml <<END
[package]
name = "empty"
version = "0.0.0"
edition = "2021"

[profile.release]
codegen-units = 1

[profile.release.package.compiler_builtins]
codegen-units = 10000

[profile.release.package.getopts]
opt-level = 0

[profile.release.package.proc_macro]
opt-level = $proc_macro

[profile.release.package.test]
opt-level = 0

[workspace]
END
echo '#![no_std]' > /out/empty/src/lib.rs

# The source carries its dependencies.
cat > /out/cargo/config.toml <<END
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "$source/vendor"
END

# Build scripts are linked too. What links them decides nothing of what they say. What zig compiles for
# that is in the image; it wants a folder that it can write to.
cp -R /usr/lib/zig-cache /out/zig
cat > /out/cc <<END
#!/bin/sh
exec zig cc -target x86_64-linux-gnu.2.17 "\$@"
END
chmod +x /out/cc
export ZIG_GLOBAL_CACHE_DIR=/out/zig ZIG_LOCAL_CACHE_DIR=/out/zig
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=/out/cc

# In memory: of some hundred megabytes, only the libraries are kept.
export CARGO_HOME=/out/cargo CARGO_TARGET_DIR=/tmp/target CARGO_INCREMENTAL=0
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes
cd /out/empty
cargo build --offline --release --target "$target" -Zbuild-std=std,panic_unwind,panic_abort,test \
    -Zbuild-std-features=panic-unwind
for library in /tmp/target/"$target"/release/deps/*.rlib; do
    case $library in
    */libempty-*) ;;
    *) cp "$library" /out/lib/ ;;
    esac
done

# What a program starts and ends with on windows-gnu; edition 2015, as in rustc's own build.
case $target in
*-windows-gnu)
    for object in rsbegin rsend; do
        rustc --edition 2015 --crate-type lib --emit=obj -C panic=abort -C opt-level=s \
            --target "$target" -o /out/lib/$object.o "$source/rtstartup/$object.rs"
    done
    ;;
esac
