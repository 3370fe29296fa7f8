//! A program with plugins in it, which does the same with those and with libraries that it loads.

use std::path::Path;
use std::sync::Mutex;

use keyway_host::{
    CallStatus, Code, Context, Error, Expectation, Host, ImportPolicy, KnownInterface, LoadError,
    LogLine, PermissionPolicy, Plugin, Services, ToolchainPolicy,
};
use order_match_interface::{Kind, Order, OrderBook, Side};

// Each plugin is named once, so that it is linked.
use {greet as _, lively as _, odd as _, order_match as _, other_twin as _, twin as _};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn main() -> Result<(), Error> {
    let expectation = Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        permissions: PermissionPolicy::Unchecked,
        interfaces: vec![KnownInterface::of::<dyn OrderBook>()],
        ..Expectation::this_process()
    };
    let services = Services::builder(|line: &LogLine<'_>| {
        LINES.lock().unwrap().push(format!("{}: {}", line.plugin, line.message));
    });
    let host = Host::new(expectation, services.build())?;

    let names: Vec<_> = host.compiled_in().into_iter().map(|it| (it.name, it.version)).collect();
    let expected = [
        ("greet", "0.1.0"),
        ("lively", "0.1.0"),
        ("odd", "0.1.0"),
        ("order-match", "0.1.0"),
        ("twin", "0.1.0"),
        ("twin", "0.2.0"),
    ];
    assert_eq!(names, expected);
    let book = host.compiled_in().swap_remove(3);
    assert_eq!(book.interfaces, [("order-match-interface/OrderBook", 1)]);

    let greet = host.load_compiled_in("greet", b"")?;
    let book = host.load_compiled_in("order-match", b"")?;
    assert!(greet.manifest().is_none() && greet.stays_mapped());
    use_both(greet, book)?;
    println!("compiled in: done");

    let mut arguments = std::env::args().skip(1);
    let mut load = || host.load(Path::new(&arguments.next().unwrap()), b"");
    let (greet, book) = (load()?, load()?);
    assert!(greet.manifest().is_some() && !greet.stays_mapped());
    use_both(greet, book)?;
    println!("loaded: done");

    refused(&host);
    println!("refused: done");
    ended(&host)?;
    println!("ended: done");
    Ok(())
}

/// Nothing in here knows where they came from.
fn use_both(mut greet: Plugin, mut book: Plugin) -> Result<(), Error> {
    assert_eq!((greet.name(), greet.version()), ("greet", "0.1.0"));
    let answer = greet.instance().invoke("greet", b"World", Context::NONE)?;
    assert_eq!(&*answer, b"Hello, World!");
    let unknown = greet.instance().invoke("sing", b"", Context::NONE).unwrap_err();
    assert_eq!(unknown.status, CallStatus::UNKNOWN_METHOD);
    assert!(greet.instance().interface::<dyn OrderBook>(Context::NONE).is_err());
    greet.unload()?;

    assert_eq!(book.name(), "order-match");
    let mut orders = book.instance().interface::<dyn OrderBook>(Context::NONE)?;
    let order = Order { price: 7, quantity: 5, side: Side::Buy, kind: Kind::Limit };
    let outcome = orders.submit(order)?;
    assert_eq!((outcome.id, outcome.resting), (1, 5));
    let outcome = orders.submit(Order { side: Side::Sell, quantity: 3, ..order })?;
    assert_eq!((outcome.filled, outcome.n_trades), (3, 1));
    assert!(orders.cancel(99).is_err());

    // And by a handle, in another thread, while this one unloads it.
    let book = book.share();
    let handle = book.handle::<dyn OrderBook>()?;
    let thread = std::thread::spawn(move || {
        loop {
            let call = match handle.call(Context::NONE) {
                Ok(call) => call,
                Err(gone) => return gone.status,
            };
            let orders = call.interface().unwrap();
            assert_eq!(orders.snapshot(Side::Buy, &mut []), Ok(0));
        }
    });
    book.unload()?;
    assert_eq!(thread.join().unwrap(), CallStatus::DISCONNECTED);
    Ok(())
}

fn refused(host: &Host) {
    let error = host.load_compiled_in("twin", b"").unwrap_err();
    let expected = "several plugins `twin` are compiled in, with the versions `0.1.0`, `0.2.0`";
    assert_eq!(error.to_string(), expected);

    let error = host.load_compiled_in("gree", b"").unwrap_err();
    let expected = "no plugin `gree` is compiled in; this program has `greet`, `lively`,";
    assert!(error.to_string().starts_with(expected), "{error}");

    // Another version of the interface, compiled into the same program.
    let LoadError::Refused(rejection) = host.load_compiled_in("odd", b"").unwrap_err() else {
        panic!("it is refused");
    };
    assert_eq!(rejection.path, Path::new("odd"));
    let codes: Vec<_> = rejection.refusals.iter().map(|refusal| refusal.code).collect();
    assert_eq!(codes, [Code::InterfaceDiffers]);

    // Another version of the contract.
    let contract = "contract: version 0\nentry keyway_plugin_v1: fn()\n".to_owned();
    let expectation = Expectation { contract: Some(contract), ..Expectation::this_process() };
    let other = Host::new(expectation, Services::new(|_, _| ())).unwrap();
    let LoadError::Refused(rejection) = other.load_compiled_in("greet", b"").unwrap_err() else {
        panic!("it is refused");
    };
    assert_eq!(rejection.refusals[0].code, Code::AbiDiffers);

    let nowhere = Host::of_compiled_in(host.gate().expectation().clone(), Services::new(|_, _| ()));
    let library = std::env::args().nth(1).unwrap();
    let error = nowhere.load(Path::new(&library), b"").unwrap_err();
    assert!(matches!(error, LoadError::Stage(_)), "{error:?}");

    let error = host.load_compiled_in("order-match", b"no configuration").unwrap_err();
    assert!(matches!(error, LoadError::Create { .. }), "{error:?}");
}

/// Once prepared and once ended, whatever comes in between.
fn ended(host: &Host) -> Result<(), Error> {
    let first = host.load_compiled_in("lively", b"")?;
    first.unload()?;
    let second = host.load_compiled_in("lively", b"")?;
    // A host of its own services, in the same process.
    let other = Services::builder(|line: &LogLine<'_>| {
        LINES.lock().unwrap().push(format!("other {}: {}", line.plugin, line.message));
    });
    let other = Host::of_compiled_in(Expectation::this_process(), other.build());
    let third = other.load_compiled_in("lively", b"")?;
    third.unload()?;
    host.end_compiled_in("lively")?;
    let lines = || std::mem::take(&mut *LINES.lock().unwrap());
    let expected = ["lively: init", "lively: create", "lively: create", "other lively: create"];
    assert_eq!(lines(), expected);
    second.unload()?;
    assert_eq!(lines(), ["lively: deinit"]);
    let error = host.load_compiled_in("lively", b"").unwrap_err();
    assert!(matches!(error, LoadError::Ended { .. }), "{error:?}");
    Ok(())
}
