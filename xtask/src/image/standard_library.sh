# Compiles std for the target $1 from the source in the image, into /out/lib.
# No network, no linker and no libc of the target is needed: only rlibs come out. `test` is for the unit
# tests of plugins. The symbolizer of backtraces is left out: plugins are stripped, so it has nothing to
# look up, and would be a sixth of the library.
set -eu
target=$1
source=$(readlink -f /usr/lib/rustlib/src/rust)/library
mkdir -p /out/empty/src /out/lib /out/cargo

cat > /out/empty/Cargo.toml <<'END'
[package]
name = "empty"
version = "0.0.0"
edition = "2021"

[profile.release.package.compiler_builtins]
codegen-units = 10000

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
