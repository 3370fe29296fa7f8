//! The typed interface of `order-match`: a limit order book with price-time priority.
//!
//! Prices are whole ticks, quantities whole lots. The book numbers its orders 1, 2, 3, … in the
//! order in which it accepts them, so the same calls always give the same answers.

use keyway_sdk::{Layout, PluginError, interface};

/// Which side of the book an order is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Layout)]
#[repr(u8)]
pub enum Side {
    /// Wants to buy: trades with the lowest offers first.
    Buy = 0,
    /// Wants to sell: trades with the highest bids first.
    Sell = 1,
}

/// What becomes of the part of an order that does not trade at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Layout)]
#[repr(u8)]
pub enum Kind {
    /// It waits in the book at the order's price.
    Limit = 0,
    /// It is dropped. The order trades at any price; its own is ignored.
    Market = 1,
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Layout)]
#[repr(C)]
pub struct Order {
    /// The worst price it trades at, in ticks.
    pub price: u64,
    /// How many lots; not 0.
    pub quantity: u32,
    /// Which side it is on.
    pub side: Side,
    /// What becomes of the rest.
    pub kind: Kind,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Layout)]
#[repr(C)]
pub struct Outcome {
    /// The order's number, by which it can be cancelled; 0 if it was refused.
    pub id: u64,
    /// How many lots traded at once.
    pub filled: u32,
    /// How many lots wait in the book now.
    pub resting: u32,
    /// In how many trades.
    pub n_trades: u32,
    /// Why it was refused: one of [`refusal`]; 0 if it was accepted.
    pub refused: u32,
}

/// Why an order or a call is refused: the codes of errors, and of [`Outcome::refused`].
pub mod refusal {
    /// The order's quantity is 0.
    pub const ZERO_QUANTITY: u32 = 1;
    /// The book holds as many orders as it may.
    pub const BOOK_FULL: u32 = 2;
    /// No order of this number waits in the book.
    pub const UNKNOWN_ORDER: u32 = 3;
    /// There is not one outcome for each order.
    pub const OUTCOMES_MISMATCH: u32 = 4;
    /// The text of a command, a configuration or a state can't be read.
    pub const BAD_TEXT: u32 = 5;
}

/// A trade between an order that waited and one that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Layout)]
#[repr(C)]
pub struct Trade {
    /// The trade's number, from 0 on.
    pub number: u64,
    /// The order that waited.
    pub maker: u64,
    /// The order that came.
    pub taker: u64,
    /// The maker's price.
    pub price: u64,
    /// How many lots.
    pub quantity: u32,
}

/// All orders of one side that wait at one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Layout)]
#[repr(C)]
pub struct Level {
    /// The price.
    pub price: u64,
    /// How many lots.
    pub quantity: u64,
    /// How many orders.
    pub n_orders: u32,
}

/// A limit order book. Better prices trade first, and at one price the order that came first.
#[interface(version = 1)]
pub trait OrderBook {
    /// Trades an order as far as it goes. Fails with a code of [`refusal`].
    fn submit(&mut self, order: Order) -> Result<Outcome, PluginError>;

    /// Submits orders one after the other and writes an outcome for each. A refused order does not
    /// stop those after it.
    fn submit_all(&mut self, orders: &[Order], outcomes: &mut [Outcome])
    -> Result<(), PluginError>;

    /// Takes a waiting order out of the book, and says how many lots it still had.
    fn cancel(&mut self, id: u64) -> Result<u32, PluginError>;

    /// Writes the levels of one side, best first, as many as there are or fit; says how many.
    fn snapshot(&self, side: Side, levels: &mut [Level]) -> usize;

    /// Writes the trades from number `first` on, as many as there are or fit; says how many. The
    /// book keeps the last 65,536: if the first one written has another number, the others are lost.
    fn trades(&self, first: u64, trades: &mut [Trade]) -> usize;
}
