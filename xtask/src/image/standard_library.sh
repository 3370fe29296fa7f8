# Compiles std for the target $1 from the source in the image, into /out/lib. If zig links for the
# target, what it compiles for a first link goes into /out/zig/cache.
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

export CARGO_HOME=/out/cargo CARGO_TARGET_DIR=/out/target CARGO_INCREMENTAL=0
export RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Cembed-bitcode=yes
cd /out/empty
cargo build --offline --release --target "$target" -Zbuild-std=std,panic_unwind,panic_abort,test \
    -Zbuild-std-features=panic-unwind
for library in /out/target/"$target"/release/deps/*.rlib; do
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

# A program and a library are linked for it, as cargo will do: by default it strips what has no debug
# information, and zig then leaves that out of what it compiles. The folder is there, so that nothing of
# another target's is copied into it.
linker=$target-cc
case $(readlink -f "$(command -v "$linker" || true)" || true) in
*/keyway-cc)
    mkdir -p /out/zig/cache /out/sysroot/lib/rustlib/"$target"
    ln -s /out/lib /out/sysroot/lib/rustlib/"$target"/lib
    export ZIG_GLOBAL_CACHE_DIR=/out/zig
    echo 'fn main() {}' > /out/empty/src/main.rs
    for kind in bin cdylib; do
        rustc --target "$target" --sysroot /out/sysroot --crate-type "$kind" --cap-lints allow \
            -Clinker="$linker" -Ctarget-feature=-crt-static -Clink-arg=-dynamic -Cstrip=debuginfo \
            -o /out/empty/"$kind" /out/empty/src/main.rs
    done
    ;;
esac
