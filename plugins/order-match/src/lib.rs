//! A limit order book with price-time priority, as a plugin.
//!
//! Hosts that know `order-match-interface` call it typed; others run its text commands by name:
//! `run` (limit, market and cancel, a command a line), `snapshot` and `trades`.

mod book;
mod text;

use keyway_sdk::{Context, Host, Method, Plugin, PluginError, SavedState, export_plugin};
use order_match_interface::{Level, Order, OrderBook, Outcome, Side, Trade, refusal};

pub use book::Book;

/// What a book holds at most unless the configuration says otherwise: 16 million orders, less than
/// a gigabyte.
const MAX_ORDERS: u32 = 1 << 24;

/// The plugin: one book.
#[derive(Debug)]
pub struct OrderMatch {
    book: Book,
    max_orders: u32,
}

impl OrderMatch {
    /// An empty book that holds at most `max_orders`.
    pub fn new(max_orders: u32) -> Self {
        Self { book: Book::new(max_orders), max_orders }
    }

    /// All orders that wait and all trades, as text.
    pub fn save(&self) -> Vec<u8> {
        text::save(&self.book).into_bytes()
    }

    /// Goes on from what [`save`](Self::save) gave.
    ///
    /// # Errors
    /// What is wrong with it; the book is as it was.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), PluginError> {
        self.book = text::restore(text::utf8(state)?, self.max_orders)?;
        Ok(())
    }

    fn run(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(text::run(&mut self.book, text::utf8(input)?).into_bytes())
    }

    fn snapshot_text(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(text::snapshot(&self.book).into_bytes())
    }

    fn trades_text(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(text::trades(&self.book).into_bytes())
    }
}

impl Plugin for OrderMatch {
    const METHODS: &'static [Method<Self>] =
        &[("run", Self::run), ("snapshot", Self::snapshot_text), ("trades", Self::trades_text)];

    fn create(config: &[u8], _: Host) -> Result<Self, PluginError> {
        let max_orders = text::max_orders(text::utf8(config)?)?;
        Ok(Self::new(max_orders.unwrap_or(MAX_ORDERS)))
    }

    fn save_state(&mut self, _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        Ok(self.save())
    }

    fn restore_state(&mut self, state: &SavedState<'_>, _: Context<'_>) -> Result<(), PluginError> {
        self.restore(state.bytes)
    }
}

impl OrderBook for OrderMatch {
    fn submit(&mut self, order: Order) -> Result<Outcome, PluginError> {
        let outcome = self.book.submit(order);
        if outcome.refused == 0 { Ok(outcome) } else { Err(text::refused(outcome.refused)) }
    }

    fn submit_all(
        &mut self,
        orders: &[Order],
        outcomes: &mut [Outcome],
    ) -> Result<(), PluginError> {
        if orders.len() != outcomes.len() {
            return Err(text::refused(refusal::OUTCOMES_MISMATCH));
        }
        for (order, outcome) in orders.iter().zip(outcomes) {
            *outcome = self.book.submit(*order);
        }
        Ok(())
    }

    fn cancel(&mut self, id: u64) -> Result<u32, PluginError> {
        self.book.cancel(id).ok_or_else(|| text::refused(refusal::UNKNOWN_ORDER))
    }

    fn snapshot(&self, side: Side, levels: &mut [Level]) -> usize {
        fill(levels, self.book.levels(side))
    }

    fn trades(&self, first: u64, trades: &mut [Trade]) -> usize {
        fill(trades, self.book.trades(first).copied())
    }
}

/// Writes what there is, as far as it fits; how many that were.
fn fill<T>(places: &mut [T], values: impl Iterator<Item = T>) -> usize {
    let mut n_written = 0;
    for (place, value) in places.iter_mut().zip(values) {
        *place = value;
        n_written += 1;
    }
    n_written
}

// It has no threads, and registers nothing with anybody.
export_plugin!(OrderMatch: dyn OrderBook, unsafe(unloadable));
