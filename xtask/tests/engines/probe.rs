//! The only program in the test image: says what it sees, or misbehaves as it is told.

use std::fs;
use std::io::{BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;
use std::{env, process, thread};

fn main() {
    let args: Vec<String> = env::args().collect();
    let number = || args[2].parse::<usize>().unwrap();
    match args[1].as_str() {
        "look" => look(&args[2..]),
        "status" => {
            println!("to stdout");
            eprintln!("to stderr");
            process::exit(args[2].parse().unwrap());
        }
        "abort" => process::abort(),
        "lines" => lines(number()),
        "long-line" => println!("{}", "x".repeat(number())),
        "bytes" => {
            std::io::stdout().write_all(b"a\xffb\r\nno newline at the end").unwrap();
        }
        "write" => fs::write(&args[2], "written inside").unwrap(),
        "read" => print!("{}", fs::read_to_string(&args[2]).unwrap()),
        "--json" => exercise(&args[args.len() - 2], &args[args.len() - 1]),
        // As the test harness of the standard library does.
        "unit" => {
            println!("running 4 tests\r");
            match args[2].as_str() {
                "crash" => process::abort(),
                "failed" => {
                    println!("assertion failed: left == right");
                    println!("test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured");
                    process::exit(101);
                }
                _ => println!("test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured\r"),
            }
        }
        "wait" => {
            // A child of its own, which must end with it.
            if args.len() == 3 {
                process::Command::new("/bin/probe").args(["wait", &args[2], "child"]).spawn().unwrap();
                println!("ready");
            }
            thread::sleep(Duration::from_secs(600));
        }
        other => panic!("no such mode: {other}"),
    }
}

/// What the host program does with a plugin: events, and an end that the plugin's name asks for.
fn exercise(round: &str, path: &str) {
    let event = |event: &str| println!("{{\"path\":\"{path}\",\"event\":\"{event}}}\r");
    let has = |what: &str| path.contains(what);
    event(r#"doing","what":"it was loaded""#);
    if has("prints-a-part") {
        print!("half a line, then ");
    } else if has("prints") {
        println!("a plugin prints this");
    }
    if has("crash") || (has("second") && round == "exercise-again") {
        process::abort();
    } else if has("silent") {
        return;
    } else if has("refused") {
        event(r#"verdict","admitted":false,"refusals":[{"code":"KW203","found":"x"}]"#);
        process::exit(3);
    } else if has("failed") {
        event(r#"failure","message":"it broke""#);
        process::exit(1);
    }
    event(r#"exercise","plugin":"x","calls":3,"errors":1"#);
    if has("at-exit") {
        eprintln!("in a destructor");
        process::abort();
    } else if has("status") {
        process::exit(5);
    } else if has("hangs") {
        thread::sleep(Duration::from_secs(600));
    }
}

/// Everything that must not depend on the engine; `paths` are tried for writing.
fn look(paths: &[String]) {
    println!("cwd {}", env::current_dir().unwrap().display());
    println!("host {}", fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
    for (name, value) in std::collections::BTreeMap::from_iter(env::vars()) {
        println!("env {name}={value}");
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    for line in status.lines() {
        let (name, value) = line.split_once(':').unwrap();
        if ["Uid", "Gid", "Umask", "NoNewPrivs"].contains(&name) || name.starts_with("Cap") {
            println!("{name} {}", value.split_whitespace().next().unwrap());
        }
    }
    for path in paths {
        let file = Path::new(path).join("tried");
        println!("write {path}: {}", outcome(fs::write(&file, "x")));
    }
    println!("kernel settings: {}", outcome(fs::write("/proc/sys/kernel/hostname", "x")));
    println!("loopback: {}", outcome(TcpListener::bind("127.0.0.1:0").and_then(|listener| {
        TcpStream::connect_timeout(&listener.local_addr()?, Duration::from_secs(1))
    })));
    let outside = "192.0.2.1:80".parse().unwrap();
    println!("network: {}", outcome(TcpStream::connect_timeout(&outside, Duration::from_secs(5))));
    println!("stdin {:?}", std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let n_devices = ["null", "zero", "full", "random", "urandom", "tty", "shm", "fd", "stdin"]
        .iter()
        .filter(|name| Path::new("/dev").join(name).symlink_metadata().is_ok())
        .count();
    println!("devices {n_devices}");
}

fn outcome<T>(result: std::io::Result<T>) -> String {
    match result {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Both streams at once, more than any pipe holds.
fn lines(n: usize) {
    let other = thread::spawn(move || {
        let mut out = BufWriter::new(std::io::stderr());
        (0..n).for_each(|i| writeln!(out, "stderr {i}").unwrap());
    });
    let mut out = BufWriter::new(std::io::stdout());
    (0..n).for_each(|i| writeln!(out, "stdout {i}").unwrap());
    other.join().unwrap();
}
