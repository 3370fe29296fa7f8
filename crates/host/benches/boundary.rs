//! What the boundary costs: `cargo bench -p keyway-host --bench boundary`.
//!
//! Each figure is a pair (`pair/mod.rs`): something done through a plugin that is loaded from a file, and its
//! peer without the boundary.
//!
//! With `--features compiled-in` the same orders also go to the plugin as part of this program.

use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use keyway_abi::call::Context;
use keyway_abi::table::{ENTRY_SYMBOL, Entry};
use keyway_host::exports::Exports;
use keyway_host::instance::Instance;
use keyway_host::services::Services;
use order_match::OrderMatch;
use order_match_interface::{Kind, Order, OrderBook, Outcome, Side};

#[path = "../tests/probe/interface.rs"]
pub mod interface;

use interface::Probe;

mod pair;

use pair::compare;

/// Calls a round, where one call is all there is to measure.
const N_CALLS: u32 = 20_000;
/// Orders a round.
const N_ORDERS: usize = 1_000;

fn main() {
    build(&["--package", "keyway-host", "--example", "probe"]);
    build(&["--package", "order-match", "--lib"]);
    let release = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../release");
    let library =
        |folder: &str, name| release.join(folder).join(libloading::library_filename(name));
    typed_call(&library("examples", "probe"));
    call_by_bytes(&library("examples", "probe"));
    looked_up_call(&library("examples", "probe"));
    method_by_index(&library("examples", "probe"));
    #[cfg(feature = "compiled-in")]
    compiled_in(&mut load(&library("", "order_match")));
    // A book each, since what waits in it from before makes it slower.
    orders_one_by_one(&mut load(&library("", "order_match")));
    orders_in_batches(&mut load(&library("", "order_match")));
}

fn build(arguments: &[&str]) {
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "a plugin was not built");
}

fn load(path: &Path) -> Instance {
    // SAFETY: the plugin was built from this workspace; its constructors do nothing.
    let exports = unsafe {
        let library = libloading::Library::new(path).expect("the plugin loads");
        let entry = *library.get::<Entry>(ENTRY_SYMBOL).expect("the entry symbol");
        let services = Services::new(|_, _| ());
        Exports::new(entry, "a plugin", services, Arc::new(library))
    };
    let exports = exports.expect("the plugin keeps to the contract");
    exports.create(b"", Context::NONE).expect("an instance")
}

type Plain = extern "C" fn(*const (), u8, i64) -> i64;

/// A call of a trivial function, beside the same function behind a plain pointer into the same
/// library; and that, beside a pointer into this program, since processors predict a jump to a
/// library a few cycles later than one nearby, whatever is called there.
fn typed_call(path: &Path) {
    extern "C" fn near_add(_: *const (), left: u8, right: i64) -> i64 {
        i64::from(left) + right
    }
    // SAFETY: the plugin is loaded for as long as this process runs, and its symbol is of the type
    // that it has in the plugin's source.
    let far = unsafe {
        let library =
            std::mem::ManuallyDrop::new(libloading::Library::new(path).expect("it loads"));
        *library.get::<Plain>("plain_add").expect("the symbol")
    };
    let (near, far) = (black_box(near_add as Plain), black_box(far));
    let call = |plain: Plain| {
        for number in 0..i64::from(N_CALLS) {
            black_box(plain(black_box(std::ptr::null()), black_box(3), number));
        }
    };
    let mut instance = load(path);
    let probe = instance.interface::<dyn Probe>(Context::NONE).expect("the interface");
    let nanoseconds = |elapsed: f64| elapsed * 1e9 / f64::from(N_CALLS);
    let pair = compare(
        || (),
        |()| {
            for number in 0..i64::from(N_CALLS) {
                black_box(probe.add(black_box(3), number).expect("a sum"));
            }
        },
        |()| call(far),
    );
    pair.report("typed call", "ns", "function pointer into the library", nanoseconds);
    let pair = compare(|| (), |()| call(far), |()| call(near));
    let name = "function pointer into the library";
    pair.report(name, "ns", "function pointer into the program", nanoseconds);
}

/// The same function called with bytes, beside the call with its types.
fn call_by_bytes(path: &Path) {
    let (mut encoded, mut typed) = (load(path), load(path));
    let encoded = encoded.encoded::<dyn Probe>(Context::NONE).expect("the interface");
    let typed = typed.interface::<dyn Probe>(Context::NONE).expect("the interface");
    let pair = compare(
        || (),
        |()| {
            for number in 0..i64::from(N_CALLS) {
                black_box(encoded.add(black_box(3), number).expect("a sum"));
            }
        },
        |()| {
            for number in 0..i64::from(N_CALLS) {
                black_box(typed.add(black_box(3), number).expect("a sum"));
            }
        },
    );
    pair.report("call by bytes", "ns", "typed call", |elapsed| elapsed * 1e9 / f64::from(N_CALLS));
}

/// The interface asked for again with each call, beside a call through a proxy that is kept.
fn looked_up_call(path: &Path) {
    let (mut each, mut kept) = (load(path), load(path));
    let kept = kept.interface::<dyn Probe>(Context::NONE).expect("the interface");
    let pair = compare(
        || (),
        |()| {
            for number in 0..i64::from(N_CALLS) {
                let probe = each.interface::<dyn Probe>(Context::NONE).expect("the interface");
                black_box(probe.add(black_box(3), number).expect("a sum"));
            }
        },
        |()| {
            for number in 0..i64::from(N_CALLS) {
                black_box(kept.add(black_box(3), number).expect("a sum"));
            }
        },
    );
    let name = "look-up of an interface, and a typed call";
    pair.report(name, "ns", "typed call", |elapsed| elapsed * 1e9 / f64::from(N_CALLS));
}

/// A method that returns its eight bytes of input, by an index that was looked up before and by name.
fn method_by_index(path: &Path) {
    let (mut by_index, mut by_name) = (load(path), load(path));
    let echo = by_index.exports().method("echo").expect("the method");
    let pair = compare(
        || (),
        |()| {
            for number in 0..u64::from(N_CALLS) {
                let input = number.to_le_bytes();
                black_box(by_index.invoke_index(echo, &input, Context::NONE).expect("an echo"));
            }
        },
        |()| {
            for number in 0..u64::from(N_CALLS) {
                let input = number.to_le_bytes();
                black_box(by_name.invoke("echo", &input, Context::NONE).expect("an echo"));
            }
        },
    );
    let name = "method by index, 8 bytes in and out";
    pair.report(name, "ns", "by name", |elapsed| elapsed * 1e9 / f64::from(N_CALLS));
}

/// The same plugin as part of this program, beside the one from a file.
#[cfg(feature = "compiled-in")]
fn compiled_in(loaded: &mut Instance) {
    use keyway_host::{Expectation, Host};
    let services = Services::new(|_, _| ());
    let host = Host::of_compiled_in(Expectation::this_process(), services);
    let mut plugin = host.load_compiled_in("order-match", b"").expect("it is compiled in");
    let mut here =
        plugin.instance().interface::<dyn OrderBook>(Context::NONE).expect("the interface");
    let mut there = loaded.interface::<dyn OrderBook>(Context::NONE).expect("the interface");
    let mut stream = Stream::new();
    let pair = compare(
        || stream.orders(),
        |orders| {
            for order in orders {
                black_box(here.submit(*order).expect("an outcome"));
            }
        },
        |orders| {
            for order in orders {
                black_box(there.submit(*order).expect("an outcome"));
            }
        },
    );
    pair.report("orders to a plugin compiled in", "orders/s", "loaded", per_second);
}

fn orders_one_by_one(instance: &mut Instance) {
    let mut direct = OrderMatch::new(1 << 20);
    let mut book = instance.interface::<dyn OrderBook>(Context::NONE).expect("the interface");
    let mut stream = Stream::new();
    let pair = compare(
        || stream.orders(),
        |orders| {
            for order in orders {
                black_box(book.submit(*order).expect("an outcome"));
            }
        },
        |orders| {
            for order in orders {
                black_box(direct.submit(*order).expect("an outcome"));
            }
        },
    );
    pair.report("orders, one a call", "orders/s", "linked directly", per_second);
}

fn orders_in_batches(instance: &mut Instance) {
    let mut direct = OrderMatch::new(1 << 20);
    let mut outcomes = vec![Outcome::default(); 500];
    let mut direct_outcomes = outcomes.clone();
    let mut book = instance.interface::<dyn OrderBook>(Context::NONE).expect("the interface");
    let mut stream = Stream::new();
    let pair = compare(
        || stream.orders(),
        |orders| {
            for orders in orders.chunks_exact(500) {
                book.submit_all(orders, &mut outcomes).expect("outcomes");
                black_box(&outcomes);
            }
        },
        |orders| {
            for orders in orders.chunks_exact(500) {
                direct.submit_all(orders, &mut direct_outcomes).expect("outcomes");
                black_box(&direct_outcomes);
            }
        },
    );
    pair.report("orders, 500 a call", "orders/s", "linked directly", per_second);
}

fn per_second(elapsed: f64) -> f64 {
    N_ORDERS as f64 / elapsed
}

/// Random orders. No round gets those of another: a branch predictor learns even 20,000 orders by
/// heart if they come again and again.
struct Stream {
    seed: u64,
}

impl Stream {
    fn new() -> Self {
        Self { seed: 0x2545_f491_4f6c_dd1d }
    }

    /// xorshift64*
    fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed >> 12;
        self.seed ^= self.seed << 25;
        self.seed ^= self.seed >> 27;
        (self.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    /// Orders within a hundred ticks, a tenth of them at any price; then the same with their sides
    /// swapped, so that each round leaves about as many waiting as it found.
    fn orders(&mut self) -> Vec<Order> {
        let half: Vec<_> = (0..N_ORDERS / 2)
            .map(|_| {
                let side = if self.random(2) == 0 { Side::Buy } else { Side::Sell };
                let kind = if self.random(10) == 0 { Kind::Market } else { Kind::Limit };
                let quantity = 1 + self.random(100) as u32;
                Order { price: 10_000 + self.random(100), quantity, side, kind }
            })
            .collect();
        let swapped = half.iter().map(|order| match order.side {
            Side::Buy => Order { side: Side::Sell, ..*order },
            Side::Sell => Order { side: Side::Buy, ..*order },
        });
        half.iter().copied().chain(swapped).collect()
    }
}
