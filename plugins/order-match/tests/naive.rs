//! The book against one so simple that it is right at a glance.

use keyway_sdk::Plugin;
use order_match::OrderMatch;
use order_match_interface::{Kind, Level, Order, OrderBook, Outcome, Side, Trade, refusal};
use proptest::prelude::*;

/// A list of waiting orders, searched from its start for the best.
#[derive(Debug, Default)]
struct Naive {
    waiting: Vec<(u64, Order)>,
    n_accepted: u64,
    trades: Vec<Trade>,
}

impl Naive {
    fn submit(&mut self, mut order: Order, max_orders: usize) -> Result<Outcome, u32> {
        if order.quantity == 0 {
            return Err(refusal::ZERO_QUANTITY);
        }
        if order.kind == Kind::Limit && self.waiting.len() >= max_orders {
            return Err(refusal::BOOK_FULL);
        }
        self.n_accepted += 1;
        let mut outcome = Outcome { id: self.n_accepted, ..Outcome::default() };
        while order.quantity > 0 {
            let Some(best) = self.best_for(order) else {
                break;
            };
            let (maker, waiting) = &mut self.waiting[best];
            let quantity = order.quantity.min(waiting.quantity);
            order.quantity -= quantity;
            waiting.quantity -= quantity;
            outcome.filled += quantity;
            outcome.n_trades += 1;
            let number = self.trades.len() as u64;
            let (maker, price) = (*maker, waiting.price);
            self.trades.push(Trade { number, maker, taker: outcome.id, price, quantity });
            self.waiting.retain(|(_, waiting)| waiting.quantity > 0);
        }
        if order.kind == Kind::Limit && order.quantity > 0 {
            outcome.resting = order.quantity;
            self.waiting.push((outcome.id, order));
        }
        Ok(outcome)
    }

    fn best_for(&self, order: Order) -> Option<usize> {
        let trades = |waiting: &Order| {
            waiting.side != order.side
                && (order.kind == Kind::Market
                    || match order.side {
                        Side::Buy => waiting.price <= order.price,
                        Side::Sell => waiting.price >= order.price,
                    })
        };
        let candidates = self.waiting.iter().enumerate().filter(|(_, (_, it))| trades(it));
        // The first of the best: earlier orders stand earlier in the list.
        candidates
            .min_by_key(|(_, (_, it))| if order.side == Side::Buy { it.price } else { !it.price })
            .map(|(place, _)| place)
    }

    fn cancel(&mut self, id: u64) -> Result<u32, u32> {
        let place = self.waiting.iter().position(|(waiting, _)| *waiting == id);
        let place = place.ok_or(refusal::UNKNOWN_ORDER)?;
        Ok(self.waiting.remove(place).1.quantity)
    }

    fn levels(&self, side: Side) -> Vec<Level> {
        let mut levels: Vec<Level> = vec![];
        for (_, order) in self.waiting.iter().filter(|(_, order)| order.side == side) {
            let quantity = u64::from(order.quantity);
            match levels.iter_mut().find(|level| level.price == order.price) {
                Some(level) => {
                    level.quantity += quantity;
                    level.n_orders += 1;
                }
                None => levels.push(Level { price: order.price, quantity, n_orders: 1 }),
            }
        }
        levels.sort_by_key(|level| if side == Side::Buy { !level.price } else { level.price });
        levels
    }
}

#[derive(Debug, Clone)]
enum Step {
    Submit(Order),
    Batch(Vec<Order>),
    Cancel(u64),
    SaveAndRestore,
}

fn order() -> impl Strategy<Value = Order> {
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell)];
    let kind = prop_oneof![4 => Just(Kind::Limit), 1 => Just(Kind::Market)];
    (95_u64..105, 0_u32..10, side, kind).prop_map(|(price, quantity, side, kind)| Order {
        price,
        quantity,
        side,
        kind,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => order().prop_map(Step::Submit),
        2 => prop::collection::vec(order(), 0..8).prop_map(Step::Batch),
        5 => (0_u64..60).prop_map(Step::Cancel),
        1 => Just(Step::SaveAndRestore),
    ]
}

fn levels(book: &OrderMatch, side: Side) -> Vec<Level> {
    let mut levels = [Level::default(); 16];
    let n_levels = book.snapshot(side, &mut levels);
    levels[..n_levels].to_vec()
}

fn trades(book: &OrderMatch, first: u64) -> Vec<Trade> {
    let mut trades = [Trade::default(); 2000];
    let n_trades = OrderBook::trades(book, first, &mut trades);
    trades[..n_trades].to_vec()
}

const MAX_ORDERS: usize = 30;

proptest! {
    #[test]
    fn the_book_does_what_the_naive_one_does(steps in prop::collection::vec(step(), 0..80)) {
        let mut book = OrderMatch::new(MAX_ORDERS as u32);
        let mut naive = Naive::default();
        for step in steps {
            let first_trade = naive.trades.len() as u64;
            match step {
                Step::Submit(order) => {
                    let outcome = book.submit(order).map_err(|error| error.code());
                    prop_assert_eq!(outcome, naive.submit(order, MAX_ORDERS));
                }
                Step::Batch(orders) => {
                    let mut outcomes = vec![Outcome::default(); orders.len()];
                    book.submit_all(&orders, &mut outcomes).expect("an outcome for each");
                    let expected: Vec<_> = orders
                        .iter()
                        .map(|order| match naive.submit(*order, MAX_ORDERS) {
                            Ok(outcome) => outcome,
                            Err(refused) => Outcome { refused, ..Outcome::default() },
                        })
                        .collect();
                    prop_assert_eq!(outcomes, expected);
                }
                Step::Cancel(id) => {
                    let left = book.cancel(id).map_err(|error| error.code());
                    prop_assert_eq!(left, naive.cancel(id));
                }
                Step::SaveAndRestore => {
                    let state = book.save();
                    let mut restored = OrderMatch::new(MAX_ORDERS as u32);
                    restored.restore(&state).expect("a state that it wrote");
                    prop_assert_eq!(&restored.save(), &state);
                    // Trades are not part of the state: both number theirs from 0 again.
                    book = restored;
                    naive.trades.clear();
                    continue;
                }
            }
            prop_assert_eq!(trades(&book, first_trade), &naive.trades[first_trade as usize..]);
            for side in [Side::Buy, Side::Sell] {
                prop_assert_eq!(levels(&book, side), naive.levels(side));
            }
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in any::<Vec<u8>>(), lines in "([a-z0-9 ]{0,30}\n){0,5}") {
        let mut book = OrderMatch::new(4);
        for (_, method) in OrderMatch::METHODS {
            for input in [&text, lines.as_bytes()] {
                let _ = method(&mut book, input, keyway_sdk::Context::NONE);
            }
        }
        let state = [b"order-match state 1\nnext 9\n", lines.as_bytes()].concat();
        for state in [&text, &state] {
            let _ = book.restore(state);
        }
    }
}
