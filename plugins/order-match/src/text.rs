//! The book for hosts without the typed interface: commands, answers and states as lines of text.
//!
//! | command | answer |
//! | --- | --- |
//! | `limit buy 5 at 101` | `order 7: filled 2, resting 3` |
//! | `market sell 5` | `order 8: filled 5, resting 0` |
//! | `cancel 7` | `order 7: cancelled 3` |
//!
//! A refused command is answered by `refused: …`; those after it are run all the same. A level of a
//! snapshot is `sell 7 at 103 in 2 orders`, a trade `trade 4: 2 at 101, order 8 with 7`.

use std::fmt::Write;

use keyway_sdk::PluginError;
use order_match_interface::{Kind, Order, Outcome, Side, Trade, refusal};

use crate::book::Book;

/// First line of a saved book: format and version.
const STATE_HEADER: &str = "order-match state 1";

/// Runs commands, a line each; blank lines are skipped.
pub(crate) fn run(book: &mut Book, commands: &str) -> String {
    let mut answers = String::new();
    for line in commands.lines().filter(|line| !line.trim().is_empty()) {
        match command(book, line) {
            Ok(answer) => answers.push_str(&answer),
            Err(error) => answers.extend(["refused: ", error.message()]),
        }
        answers.push('\n');
    }
    answers
}

/// Both sides, a level a line: offers from the worst to the best, then bids from the best on.
pub(crate) fn snapshot(book: &Book) -> String {
    let mut offers: Vec<_> = book.levels(Side::Sell).map(|level| ("sell", level)).collect();
    offers.reverse();
    let bids = book.levels(Side::Buy).map(|level| ("buy", level));
    let mut text = String::new();
    for (side, level) in offers.into_iter().chain(bids) {
        let orders = if level.n_orders == 1 { "order" } else { "orders" };
        let _ = writeln!(
            text,
            "{side} {} at {} in {} {orders}",
            level.quantity, level.price, level.n_orders
        );
    }
    text
}

/// The kept trades, a line each.
pub(crate) fn trades(book: &Book) -> String {
    let line = |trade: &Trade| {
        let Trade { number, maker, taker, price, quantity } = trade;
        format!("trade {number}: {quantity} at {price}, order {taker} with {maker}\n")
    };
    book.trades(0).map(line).collect()
}

/// The waiting orders, from which [`restore`] makes the same book; the trades are not kept.
pub(crate) fn save(book: &Book) -> String {
    let mut text = format!("{STATE_HEADER}\nnext {}\n", book.next_id());
    for (id, Order { price, quantity, side, .. }) in book.orders() {
        let side = name(side);
        let _ = writeln!(text, "{id} {side} {quantity} at {price}");
    }
    text
}

/// The book that [`save`] wrote.
pub(crate) fn restore(text: &str, max_orders: u32) -> Result<Book, PluginError> {
    let mut book = Book::new(max_orders);
    let mut lines = text.lines();
    if lines.next() != Some(STATE_HEADER) {
        return Err(bad(format!("a state that does not begin with `{STATE_HEADER}`")));
    }
    let next = lines.next().and_then(|line| line.strip_prefix("next "));
    let next = next.and_then(|next| next.parse().ok()).filter(|next| *next > 0);
    book.set_next_id(next.ok_or_else(|| bad("a state without the next order's number"))?);
    for line in lines {
        let order = line.split_once(' ').and_then(|(id, order)| {
            let order = words(order).ok()?;
            let order = limit(&order)?;
            book.put_back(id.parse().ok()?, order)
        });
        order.ok_or_else(|| bad(format!("a state with the impossible order `{line}`")))?;
    }
    Ok(book)
}

/// The most orders that a book may hold, from a configuration such as `max-orders = 1000`.
pub(crate) fn max_orders(config: &str) -> Result<Option<u32>, PluginError> {
    let config = config.trim();
    if config.is_empty() {
        return Ok(None);
    }
    let value = config.strip_prefix("max-orders").and_then(|rest| rest.trim().strip_prefix('='));
    let number = value.and_then(|value| value.trim().parse().ok());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(bad(format!("expected `max-orders = NUMBER` or nothing, found `{config}`"))),
    }
}

/// The text of an input.
pub(crate) fn utf8(input: &[u8]) -> Result<&str, PluginError> {
    std::str::from_utf8(input).map_err(|_| bad("the input is not UTF-8"))
}

/// Says why an order was refused.
#[cold]
pub(crate) fn refused(code: u32) -> PluginError {
    let why = match code {
        refusal::ZERO_QUANTITY => "an order of no lots",
        refusal::BOOK_FULL => "the book is full",
        refusal::UNKNOWN_ORDER => "no such order waits in the book",
        refusal::OUTCOMES_MISMATCH => "there is not one outcome for each order",
        _ => "unknown reason",
    };
    PluginError::new(code, why)
}

fn command(book: &mut Book, line: &str) -> Result<String, PluginError> {
    let words = words(line)?;
    if let ["cancel", id] = *words {
        let id = id.parse().map_err(|_| bad(format!("`{id}` is no number of an order")))?;
        let left = book.cancel(id).ok_or_else(|| refused(refusal::UNKNOWN_ORDER))?;
        return Ok(format!("order {id}: cancelled {left}"));
    }
    let order = match words.split_first() {
        Some((&"limit", rest)) => limit(rest),
        Some((&"market", rest)) => market(rest),
        _ => None,
    };
    let order = order.ok_or_else(|| {
        bad(format!("expected `limit buy 5 at 101`, `market sell 5` or `cancel 7`, found `{line}`"))
    })?;
    match book.submit(order) {
        Outcome { id, filled, resting, refused: 0, .. } => {
            Ok(format!("order {id}: filled {filled}, resting {resting}"))
        }
        Outcome { refused: code, .. } => Err(refused(code)),
    }
}

/// The words of a line; a line longer than any command is refused.
fn words(line: &str) -> Result<Vec<&str>, PluginError> {
    let words: Vec<_> = line.split_whitespace().take(8).collect();
    if line.len() > 100 { Err(bad("a line of more than 100 bytes")) } else { Ok(words) }
}

fn limit(words: &[&str]) -> Option<Order> {
    let [side, quantity, "at", price] = *words else {
        return None;
    };
    let (price, quantity) = (price.parse().ok()?, quantity.parse().ok()?);
    Some(Order { price, quantity, side: parse_side(side)?, kind: Kind::Limit })
}

fn market(words: &[&str]) -> Option<Order> {
    let [side, quantity] = *words else {
        return None;
    };
    let quantity = quantity.parse().ok()?;
    Some(Order { price: 0, quantity, side: parse_side(side)?, kind: Kind::Market })
}

fn parse_side(word: &str) -> Option<Side> {
    match word {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

fn name(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn bad(message: impl Into<std::borrow::Cow<'static, str>>) -> PluginError {
    PluginError::new(refusal::BAD_TEXT, message)
}
