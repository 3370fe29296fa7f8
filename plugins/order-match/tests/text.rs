//! The book by its named methods, and what it refuses.

use keyway_sdk::{Context, Plugin};
use order_match::OrderMatch;
use order_match_interface::{Kind, Order, OrderBook, Outcome, Side, Trade, refusal};

fn call(book: &mut OrderMatch, method: &str, input: &str) -> Result<String, (u32, String)> {
    let (_, method) =
        OrderMatch::METHODS.iter().find(|(name, _)| *name == method).expect("a method");
    match method(book, input.as_bytes(), Context::NONE) {
        Ok(output) => Ok(String::from_utf8(output).expect("the answers are text")),
        Err(error) => Err((error.code(), error.message().to_owned())),
    }
}

const SESSION: &str = "\
limit buy 5 at 100
limit buy 3 at 101
limit buy 4 at 101

limit sell 7 at 105
market sell 4
limit sell 2 at 100
cancel 1
cancel 1
limit buy 0 at 7
buy me a boat
";

#[test]
fn a_session_in_text() {
    let mut book = OrderMatch::new(100);
    let answers = "\
order 1: filled 0, resting 5
order 2: filled 0, resting 3
order 3: filled 0, resting 4
order 4: filled 0, resting 7
order 5: filled 4, resting 0
order 6: filled 2, resting 0
order 1: cancelled 5
refused: no such order waits in the book
refused: an order of no lots
refused: expected `limit buy 5 at 101`, `market sell 5` or `cancel 7`, found `buy me a boat`
";
    assert_eq!(call(&mut book, "run", SESSION).as_deref(), Ok(answers));
    let snapshot = "sell 7 at 105 in 1 order\nbuy 1 at 101 in 1 order\n";
    assert_eq!(call(&mut book, "snapshot", "").as_deref(), Ok(snapshot));
    let trades = "\
trade 0: 3 at 101, order 5 with 2
trade 1: 1 at 101, order 5 with 3
trade 2: 2 at 101, order 6 with 3
";
    assert_eq!(call(&mut book, "trades", "").as_deref(), Ok(trades));
    let state = "order-match state 1\nnext 7\n3 buy 1 at 101\n4 sell 7 at 105\n";
    assert_eq!(book.save(), state.as_bytes());
}

#[test]
fn a_book_that_is_full_takes_market_orders_only() {
    let mut book = OrderMatch::new(1);
    let answers = call(&mut book, "run", "limit buy 1 at 5\nlimit buy 1 at 5\nmarket sell 1\n");
    let expected = "\
order 1: filled 0, resting 1
refused: the book is full
order 2: filled 1, resting 0
";
    assert_eq!(answers.as_deref(), Ok(expected));
}

#[test]
fn old_trades_are_dropped() {
    let mut book = OrderMatch::new(100);
    let order = |side| Order { price: 1, quantity: 1, side, kind: Kind::Limit };
    let orders = [order(Side::Buy), order(Side::Sell)].repeat(70_000);
    let mut outcomes = vec![Outcome::default(); orders.len()];
    book.submit_all(&orders, &mut outcomes).expect("an outcome for each");
    let mut trades = [Trade::default(); 2];
    assert_eq!(OrderBook::trades(&book, 0, &mut trades), 2);
    assert_eq!(trades[0].number, 70_000 - 65_536);
    assert_eq!(trades[1].number, trades[0].number + 1);
    assert_eq!(OrderBook::trades(&book, 69_999, &mut trades), 1);
    assert_eq!(OrderBook::trades(&book, 70_000, &mut trades), 0);
    assert_eq!(OrderBook::trades(&book, u64::MAX, &mut trades), 0);
}

#[test]
fn every_refusal_has_its_code() {
    let mut book = OrderMatch::new(0);
    let order = |quantity| Order { price: 1, quantity, side: Side::Buy, kind: Kind::Limit };
    let code = |result: Result<_, keyway_sdk::PluginError>| result.expect_err("refused").code();
    assert_eq!(code(book.submit(order(0)).map(drop)), refusal::ZERO_QUANTITY);
    assert_eq!(code(book.submit(order(1)).map(drop)), refusal::BOOK_FULL);
    assert_eq!(code(book.cancel(1).map(drop)), refusal::UNKNOWN_ORDER);
    assert_eq!(code(book.submit_all(&[order(1)], &mut [])), refusal::OUTCOMES_MISMATCH);
    assert_eq!(code(book.restore(b"\xff")), refusal::BAD_TEXT);
    let (code, message) = call(&mut book, "run", &"9".repeat(101))
        .map_or_else(|refused| refused, |answer| (refusal::BAD_TEXT, answer));
    assert_eq!((code, &*message), (refusal::BAD_TEXT, "refused: a line of more than 100 bytes\n"));
}

#[test]
fn impossible_states_are_refused() {
    let mut book = OrderMatch::new(2);
    let mut restore = |orders: &str| {
        let state = format!("order-match state 1\nnext 5\n{orders}");
        book.restore(state.as_bytes()).map_err(|error| error.message().to_owned())
    };
    assert_eq!(restore("1 buy 2 at 3\n2 sell 2 at 4\n"), Ok(()));
    for (orders, found) in [
        ("1 buy 2 at 3\n1 buy 2 at 3\n", "1 buy 2 at 3"),
        ("5 buy 2 at 3\n", "5 buy 2 at 3"),
        ("0 buy 2 at 3\n", "0 buy 2 at 3"),
        ("1 buy 0 at 3\n", "1 buy 0 at 3"),
        ("1 buy 1 at 3\n2 sell 1 at 3\n", "2 sell 1 at 3"),
        ("1 buy 1 at 3\n2 buy 1 at 3\n3 buy 1 at 3\n", "3 buy 1 at 3"),
        ("1 hold 1 at 3\n", "1 hold 1 at 3"),
    ] {
        assert_eq!(restore(orders), Err(format!("a state with the impossible order `{found}`")));
    }
    let mut restore =
        |state: &str| book.restore(state.as_bytes()).map_err(|error| error.message().to_owned());
    let headless = "a state that does not begin with `order-match state 1`";
    assert_eq!(restore(""), Err(headless.into()));
    let nextless = "a state without the next order's number";
    assert_eq!(restore("order-match state 1\nnext 0\n"), Err(nextless.into()));
}
