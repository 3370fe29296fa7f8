//! The book: two sorted maps from price to a queue, the queues linked through one arena.
//!
//! A queue is a doubly linked list, so that a cancel is as cheap as a fill; its links are indices,
//! so that nothing is allocated once the arena has grown. Orders are numbered by the book, which
//! makes it deterministic and lets the index of waiting orders hash without a key: nobody outside
//! chooses the numbers.

use std::collections::HashMap;
use std::collections::btree_map::{BTreeMap, OccupiedEntry};
use std::hash::{BuildHasherDefault, Hasher};

use order_match_interface::{Kind, Level, Order, Outcome, Side, Trade, refusal};

/// How many trades are kept.
const KEPT_TRADES: usize = 65_536;

/// No order: the end of a list.
const NONE: u32 = u32::MAX;

/// A limit order book with price-time priority.
#[derive(Debug)]
pub struct Book {
    arena: Vec<Waiting>,
    /// First unused place of the arena; the others follow by `next`.
    free: u32,
    /// Where in the arena each waiting order is.
    places: HashMap<u64, u32, BuildHasherDefault<Multiply>>,
    bids: BTreeMap<u64, Queue>,
    offers: BTreeMap<u64, Queue>,
    max_orders: usize,
    next_id: u64,
    /// A ring, once it is full.
    trades: Vec<Trade>,
    n_trades: u64,
}

/// An order in the book.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: u64,
    price: u64,
    quantity: u32,
    side: Side,
    previous: u32,
    next: u32,
}

/// The orders at one price, the oldest first.
#[derive(Debug, Clone, Copy)]
struct Queue {
    first: u32,
    last: u32,
    n_orders: u32,
    quantity: u64,
}

impl Book {
    /// An empty book that holds at most `max_orders`.
    pub fn new(max_orders: u32) -> Self {
        Self {
            arena: Vec::new(),
            free: NONE,
            places: HashMap::default(),
            bids: BTreeMap::new(),
            offers: BTreeMap::new(),
            // `NONE` is no place: the last one of `u32::MAX` orders is at the place before it.
            max_orders: max_orders as usize,
            next_id: 1,
            trades: Vec::new(),
            n_trades: 0,
        }
    }

    /// Trades an order as far as it goes; the rest of a limit order waits.
    #[inline]
    pub fn submit(&mut self, order: Order) -> Outcome {
        let refused = |refused| Outcome { refused, ..Outcome::default() };
        if order.quantity == 0 {
            return refused(refusal::ZERO_QUANTITY);
        }
        // Before trading, though the order might not rest: whether it is accepted must not depend
        // on what it would trade with.
        if order.kind == Kind::Limit && self.places.len() >= self.max_orders {
            return refused(refusal::BOOK_FULL);
        }
        let id = self.next_id;
        self.next_id += 1;
        let before = self.n_trades;
        let left = self.trade(id, order);
        let resting = if order.kind == Kind::Limit { left } else { 0 };
        if resting > 0 {
            self.rest(id, Order { quantity: resting, ..order });
        }
        let n_trades = (self.n_trades - before) as u32;
        Outcome { id, filled: order.quantity - left, resting, n_trades, refused: 0 }
    }

    /// Takes a waiting order out of the book; how many lots it had, `None` if it is not there.
    pub fn cancel(&mut self, id: u64) -> Option<u32> {
        let place = self.places.remove(&id)?;
        let Waiting { price, quantity, side, previous, next, .. } = self.arena[place as usize];
        let mut level = match side {
            Side::Buy => occupied(&mut self.bids, price),
            Side::Sell => occupied(&mut self.offers, price),
        };
        let queue = level.get_mut();
        match previous {
            NONE => queue.first = next,
            previous => self.arena[previous as usize].next = next,
        }
        match next {
            NONE => queue.last = previous,
            next => self.arena[next as usize].previous = previous,
        }
        queue.n_orders -= 1;
        queue.quantity -= u64::from(quantity);
        if queue.n_orders == 0 {
            level.remove();
        }
        self.release(place);
        Some(quantity)
    }

    /// The levels of one side, best first.
    pub fn levels(&self, side: Side) -> impl Iterator<Item = Level> {
        let level = |(price, queue): (&u64, &Queue)| Level {
            price: *price,
            quantity: queue.quantity,
            n_orders: queue.n_orders,
        };
        let (bids, offers) = match side {
            Side::Buy => (Some(self.bids.iter().rev()), None),
            Side::Sell => (None, Some(self.offers.iter())),
        };
        bids.into_iter().flatten().chain(offers.into_iter().flatten()).map(level)
    }

    /// The trades from number `first` on that are still kept.
    pub fn trades(&self, first: u64) -> impl Iterator<Item = &Trade> {
        let kept = self.n_trades.saturating_sub(KEPT_TRADES as u64);
        (first.max(kept)..self.n_trades).map(|number| &self.trades[ring_index(number)])
    }

    /// The waiting orders with their numbers: bids, then offers, best first, oldest first.
    pub fn orders(&self) -> impl Iterator<Item = (u64, Order)> {
        let queues = self.bids.values().rev().chain(self.offers.values());
        queues.flat_map(|queue| {
            let place = |place: u32| self.arena.get(place as usize);
            std::iter::successors(place(queue.first), move |waiting| place(waiting.next))
                .map(|waiting| (waiting.id, waiting.order()))
        })
    }

    /// The number that the next order will get.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Puts back an order of a saved book, after those that were before it in its queue. `None` if
    /// it can't have been there: its number is taken or not below `next_id`, it is empty, it would
    /// trade, or the book is full.
    pub fn put_back(&mut self, id: u64, order: Order) -> Option<()> {
        let crossed = match order.side {
            Side::Buy => {
                self.offers.first_key_value().is_some_and(|(best, _)| *best <= order.price)
            }
            Side::Sell => self.bids.last_key_value().is_some_and(|(best, _)| *best >= order.price),
        };
        let fits = self.places.len() < self.max_orders
            && !self.places.contains_key(&id)
            && (1..self.next_id).contains(&id);
        let rests = order.quantity > 0 && order.kind == Kind::Limit && !crossed;
        (fits && rests).then(|| self.rest(id, order))
    }

    /// Lets a book that is still empty number its orders from `next_id` on.
    pub fn set_next_id(&mut self, next_id: u64) {
        self.next_id = next_id;
    }

    /// Trades with the other side; how many lots are left.
    fn trade(&mut self, taker: u64, order: Order) -> u32 {
        let mut left = order.quantity;
        while left > 0 {
            let (best, reaches): (_, fn(u64, u64) -> bool) = match order.side {
                Side::Buy => (self.offers.first_entry(), |price, limit| price <= limit),
                Side::Sell => (self.bids.last_entry(), |price, limit| price >= limit),
            };
            let Some(mut level) = best else { break };
            let price = *level.key();
            if order.kind == Kind::Limit && !reaches(price, order.price) {
                break;
            }
            let queue = level.get_mut();
            while left > 0 && queue.first != NONE {
                let place = queue.first;
                let maker = &mut self.arena[place as usize];
                let quantity = left.min(maker.quantity);
                left -= quantity;
                maker.quantity -= quantity;
                queue.quantity -= u64::from(quantity);
                let number = self.n_trades;
                self.n_trades += 1;
                let trade = Trade { number, maker: maker.id, taker, price, quantity };
                record(&mut self.trades, trade);
                if maker.quantity == 0 {
                    let (id, next) = (maker.id, maker.next);
                    queue.first = next;
                    queue.n_orders -= 1;
                    match next {
                        NONE => queue.last = NONE,
                        next => self.arena[next as usize].previous = NONE,
                    }
                    self.places.remove(&id);
                    self.arena[place as usize].next = self.free;
                    self.free = place;
                }
            }
            if queue.first == NONE {
                level.remove();
            }
        }
        left
    }

    /// Appends an order to the queue at its price.
    fn rest(&mut self, id: u64, order: Order) {
        let Order { price, quantity, side, .. } = order;
        let levels = match side {
            Side::Buy => &mut self.bids,
            Side::Sell => &mut self.offers,
        };
        let queue = levels.entry(price).or_insert(Queue::EMPTY);
        let waiting = Waiting { id, price, quantity, side, previous: queue.last, next: NONE };
        let place = if self.free == NONE {
            self.arena.push(waiting);
            (self.arena.len() - 1) as u32
        } else {
            let place = self.free;
            self.free = self.arena[place as usize].next;
            self.arena[place as usize] = waiting;
            place
        };
        match queue.last {
            NONE => queue.first = place,
            last => self.arena[last as usize].next = place,
        }
        queue.last = place;
        queue.n_orders += 1;
        queue.quantity += u64::from(quantity);
        self.places.insert(id, place);
    }

    fn release(&mut self, place: u32) {
        self.arena[place as usize].next = self.free;
        self.free = place;
    }
}

impl Waiting {
    fn order(&self) -> Order {
        let Self { price, quantity, side, .. } = *self;
        Order { price, quantity, side, kind: Kind::Limit }
    }
}

impl Queue {
    const EMPTY: Self = Self { first: NONE, last: NONE, n_orders: 0, quantity: 0 };
}

/// The level of a waiting order.
fn occupied(levels: &mut BTreeMap<u64, Queue>, price: u64) -> OccupiedEntry<'_, u64, Queue> {
    match levels.entry(price) {
        std::collections::btree_map::Entry::Occupied(level) => level,
        std::collections::btree_map::Entry::Vacant(_) => {
            unreachable!("an order waits at its price")
        }
    }
}

fn ring_index(number: u64) -> usize {
    (number % KEPT_TRADES as u64) as usize
}

fn record(trades: &mut Vec<Trade>, trade: Trade) {
    match trades.get_mut(ring_index(trade.number)) {
        Some(place) => *place = trade,
        None => trades.push(trade),
    }
}

/// Fibonacci hashing of the book's own numbers.
#[derive(Debug, Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers of orders are hashed");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(side: Side, quantity: u32, price: u64) -> Order {
        Order { price, quantity, side, kind: Kind::Limit }
    }

    #[test]
    fn a_cancelled_order_leaves_no_gap_in_its_queue() {
        let mut book = Book::new(10);
        let ids = [1, 2, 3].map(|quantity| book.submit(limit(Side::Buy, quantity, 100)).id);
        assert_eq!(book.cancel(ids[1]), Some(2));
        let queue = book.bids[&100];
        assert_eq!((queue.n_orders, queue.quantity), (2, 4));
        let [first, last] = [queue.first, queue.last].map(|place| book.arena[place as usize]);
        assert_eq!((first.id, last.id), (ids[0], ids[2]));
        assert_eq!((first.next, last.previous), (queue.last, queue.first));
        for id in [ids[2], ids[0]] {
            book.cancel(id);
        }
        assert!(book.bids.is_empty() && book.places.is_empty());
    }

    #[test]
    fn places_are_used_again() {
        let mut book = Book::new(2);
        for round in 0..100 {
            let [one, two] = [7, 9].map(|price| book.submit(limit(Side::Sell, 1, price)).id);
            assert_eq!(book.cancel(one), Some(1));
            let taken = book.submit(limit(Side::Buy, 1, 9));
            assert_eq!((taken.filled, taken.resting), (1, 0), "{round}");
            assert_eq!(book.cancel(two), None);
        }
        assert_eq!(book.arena.len(), 2);
    }

    #[test]
    fn neighbouring_numbers_are_far_apart_when_hashed() {
        let hash = |number: u64| {
            let mut hasher = Multiply::default();
            hasher.write_u64(number);
            hasher.finish()
        };
        // A hash table takes its place from the low bits and its tag from the seven highest.
        let tags: std::collections::BTreeSet<u64> = (0..128).map(|n| hash(n) >> 57).collect();
        let places: std::collections::BTreeSet<u64> = (0..128).map(|n| hash(n) % 128).collect();
        assert!(tags.len() > 32 && places.len() > 32, "{} {}", tags.len(), places.len());
    }
}
